"""Labelled texts and where they come from: files of `{"text", "label"}`, or made up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from weir.contracts.errors import UsageError
from weir_training.data import listed, read_rows


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text; `is_sought`: whether it is what the classifier looks for."""

    text: str
    is_sought: bool

    @property
    def group(self) -> str:
        """What figures are told apart by: Chinese characters or none."""
        return "zh" if any("\u4e00" <= character <= "\u9fff" for character in self.text) else "en"


@dataclass(frozen=True, slots=True)
class Split:
    """What is learnt from, what thresholds are chosen on, and what neither ever saw."""

    train: tuple[Labelled, ...]
    validation: tuple[Labelled, ...]
    heldout: tuple[Labelled, ...]


def read_labelled(paths: Iterable[Path], labels: tuple[str, str]) -> list[Labelled]:
    """Read JSONL files; the second label is the one that is sought.

    Raises:
        UsageError: a file or a row cannot be read, or a label is neither of the two: all such rows are named.
    """
    rows = [row for path in paths for row in read_rows(path)]
    known = " or ".join(map(repr, labels))
    strange = [f"{row.place}: label {row.answer!r}: expected {known}" for row in rows if row.answer not in labels]
    if strange:
        raise UsageError(listed(strange))
    return [Labelled(row.question[-1].content, row.answer == labels[1]) for row in rows]


def parted(rows: Sequence[Labelled], share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Return rows to learn from and rows to choose thresholds on, drawn by chance; equal texts stay together."""
    texts = sorted({row.text for row in rows})
    Random(seed).shuffle(texts)  # noqa: S311 - reproducible, not secret
    withheld = set(texts[: round(len(texts) * share)])
    return [row for row in rows if row.text not in withheld], [row for row in rows if row.text in withheld]


def without(rows: Iterable[Labelled], others: Iterable[Labelled]) -> list[Labelled]:
    """Return the rows whose text is not among the others'."""
    known = {_key(row) for row in others}
    return [row for row in rows if _key(row) not in known]


def refuse_contaminated(split: Split) -> None:
    """Nothing is measured on what was learnt.

    Raises:
        UsageError: a held-out text is also trained on.
    """
    trained = {_key(row) for row in split.train} | {_key(row) for row in split.validation}
    both = [f"held-out text also trained on: row {n}" for n, row in enumerate(split.heldout, 1) if _key(row) in trained]
    if both:
        raise UsageError(listed(both))


def _key(row: Labelled) -> str:
    return " ".join(row.text.casefold().split())
