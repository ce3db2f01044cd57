"""The answers that a release was trained on, as token ids: what its engine may guess from (`drafts/answers.npz`)."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError

FILE: Final = "drafts/answers.npz"
CONTEXT_TOKENS: Final = 32  # so much of a question is kept; longer matches tell nothing more
_ARRAYS: Final = frozenset({"tokens", "questions", "answers"})
_NARROW: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Example:
    """The end of a question as the model reads it, and the answer up to its end token."""

    question: tuple[int, ...]
    answer: tuple[int, ...]


def write_drafts(examples: Iterable[Example], path: Path) -> None:
    """Write the examples; the same ones give the same bytes.

    The file holds three arrays: `tokens` of all examples, one after another, and how many of each belong to its
    question (`questions`) and to its answer (`answers`).
    """
    rows = list(examples)
    tokens = np.array([token for row in rows for token in (*row.question, *row.answer)], np.uint32)
    narrow = not len(tokens) or int(tokens.max()) < _NARROW
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        tokens=tokens.astype(np.uint16 if narrow else np.uint32),
        questions=np.array([len(row.question) for row in rows], np.uint32),
        answers=np.array([len(row.answer) for row in rows], np.uint32),
    )


def read_drafts(root: Path) -> tuple[Example, ...]:
    """Return what the release at `root` brings to guess from; nothing when it brings none.

    Raises:
        ReleaseError: there is a file, and it is not such a one.
    """
    path = root / FILE
    if not path.is_file():
        return ()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if set(arrays.files) != _ARRAYS:
                raise ReleaseError(f"{root}: {FILE} holds {', '.join(sorted(arrays.files))}, not what drafts are")
            return tuple(_examples(arrays["tokens"], arrays["questions"], arrays["answers"]))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"{root}: {FILE} cannot be read: {error}") from error


def _examples(
    tokens: NDArray[np.unsignedinteger], questions: NDArray[np.uint32], answers: NDArray[np.uint32]
) -> Iterable[Example]:
    """Cut the tokens; ValueError when the lengths do not add up."""
    if len(questions) != len(answers) or int(questions.sum()) + int(answers.sum()) != len(tokens):
        raise ValueError("the lengths do not add up")
    flat, at = tokens.tolist(), 0
    for question, answer in zip(questions.tolist(), answers.tolist(), strict=True):
        middle, end = at + question, at + question + answer
        yield Example(tuple(flat[at:middle]), tuple(flat[middle:end]))
        at = end
