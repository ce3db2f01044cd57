"""The classifier's tokenizer: characters, their n-grams and words, hashed into buckets. Nothing is learnt or stored."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
_Hashes = NDArray[np.uint32]

_SPACE: Final = re.compile(r"\s+")  # a fixed pattern without alternatives: linear on any text
_DIGITS: Final = str.maketrans("123456789", "0" * 9)
_PRIME: Final = np.uint32(0x01000193)  # FNV's; Source: Fowler, Noll, Vo, 32 bits
_SEED: Final = np.uint32(0x811C9DC5)
_POWERS: Final = np.cumprod(np.full(64, _PRIME, np.uint32), dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Ngrams:
    """How a text becomes ids; `columns` of them per character, 0 where there is none.

    Attributes:
        buckets: ids are 1 … buckets.
        orders: lengths of the n-grams that begin at a character; behind them comes the word that it stands in.
    """

    buckets: int
    orders: tuple[int, ...]

    @property
    def columns(self) -> int:
        return len(self.orders) + 1

    def ids(self, text: str) -> Ids:
        """Return the ids of a text as `normalised` leaves it: shape (its characters, columns)."""
        points = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        columns = [self._bucket(_grams(points, order), order) for order in self.orders]
        columns.append(self._bucket(_words(points), 0))
        return np.stack(columns, axis=1) if len(points) else np.zeros((0, self.columns), np.int32)

    def _bucket(self, hashes: _Hashes, order: int) -> NDArray[np.int32]:
        mixed = hashes ^ np.uint32(order * 0x9E3779B1 & 0xFFFFFFFF)
        mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        mixed ^= mixed >> np.uint32(13)
        found = (mixed % np.uint32(self.buckets)).astype(np.int32) + 1
        if order > 1:
            found[max(0, len(found) - order + 1) :] = 0
        return found


def normalised(text: str) -> str:
    """Return the form that is read: NFKC, small letters, one space for any white space, 0 for every digit."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip().translate(_DIGITS)


def _grams(points: NDArray[np.uint32], order: int) -> _Hashes:
    """Hash what begins at each character; the last `order - 1` are of no use."""
    hashes = np.full(len(points), _SEED, np.uint32)
    padded = np.append(points, np.zeros(order, np.uint32))
    for step in range(order):
        hashes = (hashes ^ padded[step : step + len(points)]) * _PRIME
    return hashes


def _words(points: NDArray[np.uint32]) -> _Hashes:
    """Hash, for each character, the run of ASCII letters and digits that it belongs to; any other one stands alone."""
    if not len(points):
        return points
    is_word = ((points >= 97) & (points <= 122)) | ((points >= 48) & (points <= 57))
    starts = np.flatnonzero(~(is_word & np.roll(is_word, 1)) | (np.arange(len(points)) == 0))
    sizes = np.diff(np.append(starts, len(points)))
    place = np.arange(len(points), dtype=np.uint32) - np.repeat(starts, sizes).astype(np.uint32)
    mixed = (points + np.uint32(1)) * _POWERS[place % np.uint32(len(_POWERS))]
    return np.repeat(np.add.reduceat(mixed, starts, dtype=np.uint32), sizes)
