"""The figures of docs/benchmarks.md for the whole chain: `make bench`. Prints Markdown; takes about five minutes.

Everything is made anew in a temporary home by the real commands; engine and gateway are measured with `weir bench`.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.support.up import Up

_ROUNDS = ("--rounds", "5", "--concurrency", "1,4,8", "--json")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        home = Path(folder)
        print(f"Machine: {_machine()}\n")
        first, again = _up(home), _up(home, keep=True)
        try:
            print(f"`weir up`: serving after {first.seconds:.1f} s; again, unchanged: {again.seconds:.1f} s\n")
            _chain(home)
            _gateway(again.url)
        finally:
            again.interrupt()
        _engine(home)


def _up(home: Path, *, keep: bool = False) -> Up:
    running = Up(home).start().wait_ready(timeout_s=600)
    if not keep:
        running.interrupt()
    return running


def _chain(home: Path) -> None:
    run = next((home / "runs").iterdir())
    stages = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["stages"]
    _table(("stage", "seconds"), ((name, f"{record['seconds']:.1f}") for name, record in stages.items()))
    _table(
        ("exact match", "trained", "held out"),
        ((what, m["exact_match_trained"], m["exact_match_heldout"]) for what, m in stages["eval"]["metrics"].items()),
    )
    sizes = stages["export"]["metrics"]
    _table(
        ("flavour", "MB", "max abs", "argmax", "mean KL", "NLL", "NLL checkpoint", "exact match", "gate"),
        (_parity(name, found, sizes[name]["bytes"]) for name, found in stages["verify"]["metrics"].items()),
    )


def _parity(name: str, p: dict[str, Any], size_bytes: int) -> Sequence[object]:
    verdict = "pass" if p["passed"] else "; ".join(p["reasons"])
    figures = (f"{p['max_abs']:.1e}", f"{p['argmax_agreement']:.4f}", f"{p['mean_kl']:.1e}", f"{p['nll']:.4f}")
    return (name, f"{size_bytes / 1e6:.2f}", *figures, f"{p['nll_reference']:.4f}", p["exact_match"], verdict)


def _engine(home: Path) -> None:
    for flavour in ("cpu-fp32", "cpu-int8", "cpu-int4"):
        _bench("answers", "faq", "--home", str(home), "--flavour", flavour, "--tokens", "128", *_ROUNDS, title=flavour)


def _gateway(url: str) -> None:
    _bench("gateway", "--url", url, "--tokens", "64", *_ROUNDS, title="through the gateway")


def _bench(*arguments: str, title: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "weir", "bench", *arguments], capture_output=True, text=True, check=True
    )
    figures = json.loads(done.stdout)["figures"]
    print(f"{title} (`weir bench {' '.join(arguments[:2])}`)\n")
    _table(tuple(figures[0]), (tuple(_shown(v) for v in row.values()) for row in figures))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{len(names)} x {names[0] if names else platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"took {time.monotonic() - began:.0f} s")
