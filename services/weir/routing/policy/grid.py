"""Means of what was observed, by two sizes."""

from collections.abc import Sequence
from typing import Final

_WEIGHT: Final = 0.05  # of one observation, once there are enough
_MOST: Final = 4.0  # times the mean
LEVELS: Final = 12  # of load: bit lengths, so 1, 2-3, 4-7, … 1024-2047
SIZES: Final = 22  # of texts: bit lengths of their tokens
MOST_TOKENS: Final = (1 << SIZES - 1) - 1  # of a text
LEVEL: Final = (0, *(min(n.bit_length(), LEVELS - 1) for n in range(1, 2048)))


def level_of(load: int) -> int:
    """Return the column that so many requests at once belong to."""
    return LEVEL[load] if load < 2048 else LEVELS - 1


class Grid:
    """`rows[size][level]` holds seconds: what was seen, and for the rest a guess from the nearest that was.

    `by_size` and `by_level` are what doubling one of them is guessed to cost.
    """

    def __init__(self, first_guess: float, *, by_size: float, by_level: float) -> None:
        self.rows = [[first_guess * by_size**row] * LEVELS for row in range(SIZES)]
        self._counts = [[0] * LEVELS for _ in range(SIZES)]
        self._by_size, self._by_level = by_size, by_level

    def observe(self, size: int, level: int, seconds: float) -> None:
        row, counts = self.rows[size], self._counts[size]
        counts[level] += 1
        if counts[level] == 1:
            row[level] = seconds
            self._guess()
        else:
            seconds = min(seconds, _MOST * row[level])  # a node in trouble does not spoil what is known of all
            row[level] += max(_WEIGHT, 1 / counts[level]) * (seconds - row[level])

    def _guess(self) -> None:
        """Fill in what was not seen; rare, as there are few places."""
        known = []
        for size, counts in enumerate(self._counts):
            if any(counts):
                self._fill(self.rows[size], counts)
                known.append(size)
        for size, counts in enumerate(self._counts):
            if not any(counts):
                near = min(known, key=lambda other: abs(other - size))
                self.rows[size][:] = [value * self._by_size ** (size - near) for value in self.rows[near]]

    def _fill(self, row: list[float], counts: Sequence[int]) -> None:
        seen = [level for level, count in enumerate(counts) if count]
        for level in range(LEVELS):
            if not counts[level]:
                near = min(seen, key=lambda other: abs(other - level))
                row[level] = row[near] * self._by_level ** (level - near)
