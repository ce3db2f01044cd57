"""What the packaged policy makes of attacks and near misses: `python -m tests.bench.injection [FILE …]`.

Files are JSONL of `{"text", "label"}` (default: the second tier's written and held-out rows); labels are `injection`
and `benign`. Counts, by file, label and whether a text has Chinese characters, how many texts any rule finds something
in, flags too, and how many are refused. Rules were written with a part of the written rows in view, and none of the
held-out ones (docs/benchmarks.md). Prints Markdown.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from weir.guard.input import InputFilter
from weir.guard.policy import default_policy
from weir.guard.rules import Action

EXAMPLES = Path(__file__).parents[2] / "training/examples/classifiers"
FILES = (EXAMPLES / "injection.written.jsonl", EXAMPLES / "injection.heldout.jsonl")


def counted(guard: InputFilter, path: Path) -> Iterable[tuple[str, str, int, float, float]]:
    """Yield label, group, number of texts, and the shares that are found and refused."""
    groups: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        checked = guard.check(row["text"])
        group = "zh" if any("\u4e00" <= one <= "\u9fff" for one in row["text"]) else "other"
        groups[row["label"], group].append((bool(checked.finds), checked.verdict.action is Action.BLOCK))
    for (label, group), verdicts in sorted(groups.items()):
        found, refused = (sum(some) / len(verdicts) for some in zip(*verdicts, strict=True))
        yield label, group, len(verdicts), found, refused


def main(paths: Iterable[str]) -> None:
    guard = InputFilter(default_policy().base)
    print("| file | label | script | texts | found | refused |", "|---|---|---|---|---|---|", sep="\n")
    for path in map(Path, paths):
        for label, group, number, found, refused in counted(guard, path):
            print(f"| {path.stem} | {label} | {group} | {number} | {found:.1%} | {refused:.1%} |")


if __name__ == "__main__":
    main(sys.argv[1:] or map(str, FILES))
