"""What a release's engine may guess from: the answers it was trained on, as token ids (`drafts/answers.npz`).

Answers are readable there; of the questions there is only a digest.
"""

import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError
from weir.release.reader import Release

FILE: Final = "drafts/answers.npz"
CONTEXT_TOKENS: Final = 32  # so much of a text is compared; longer matches tell nothing more
_ARRAYS: Final = {
    "tokens": "u",
    "opening": "u",
    "lengths": "u",
    "digests": "u",
    "question_lengths": "u",
    "replies": "u",
}
_NARROW: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt whose last `length` tokens have this digest is answered by the `answer`th answer."""

    digest: int
    length: int
    answer: int


@dataclass(frozen=True, slots=True)
class Drafts:
    """`opening` is what the chat template puts before every answer; an answer ends with its end token."""

    opening: tuple[int, ...] = ()
    answers: tuple[tuple[int, ...], ...] = ()
    questions: tuple[Question, ...] = ()


def digest_of(tokens: Sequence[int]) -> int:
    """Return 64 bits that tell one question from another; not what it was."""
    return int.from_bytes(blake2b(struct.pack(f"<{len(tokens)}I", *tokens), digest_size=8).digest(), "little")


def write_drafts(drafts: Drafts, path: Path) -> None:
    """Write the file; the same drafts give the same bytes."""
    tokens = [token for answer in drafts.answers for token in answer]
    width = np.uint16 if max((*tokens, *drafts.opening), default=0) < _NARROW else np.uint32
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        tokens=np.array(tokens, width),
        opening=np.array(drafts.opening, width),
        lengths=np.array([len(answer) for answer in drafts.answers], np.uint32),
        digests=np.array([question.digest for question in drafts.questions], np.uint64),
        question_lengths=np.array([question.length for question in drafts.questions], np.uint8),
        replies=np.array([question.answer for question in drafts.questions], np.uint32),
    )


def read_drafts(release: Release) -> Drafts:
    """Return what the release brings to guess from; nothing when its manifest names no such file.

    Raises:
        ReleaseError: the file is not such a one, or holds tokens that the model does not have.
    """
    if all(entry.path != FILE for entry in release.manifest.files):
        return Drafts()
    try:
        with np.load(release.root / FILE, allow_pickle=False) as arrays:
            return _drafts({name: arrays[name] for name in _ARRAYS}, release.manifest.vocab_size)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"{release.root}: {FILE} does not hold drafts: {error}") from error


def _drafts(arrays: dict[str, NDArray[Any]], vocab_size: int) -> Drafts:
    """Put the arrays together; ValueError when they do not fit."""
    if any(found.dtype.kind != _ARRAYS[name] or found.ndim != 1 for name, found in arrays.items()):
        raise ValueError("expected lists of numbers, none below 0")
    tokens, opening, lengths, digests, sizes, replies = (arrays[name].tolist() for name in _ARRAYS)
    if max((*tokens, *opening), default=0) >= vocab_size:
        raise ValueError(f"token {max(*tokens, *opening)} of a vocabulary of {vocab_size}")
    if sum(lengths) != len(tokens) or max(replies, default=-1) >= len(lengths):
        raise ValueError("the lengths do not add up")
    questions = tuple(Question(*found) for found in zip(digests, sizes, replies, strict=True))
    return Drafts(tuple(opening), tuple(_cut(tokens, lengths)), questions)


def _cut(tokens: list[int], lengths: list[int]) -> Iterator[tuple[int, ...]]:
    at = 0
    for length in lengths:
        yield tuple(tokens[at : at + length])
        at += length
