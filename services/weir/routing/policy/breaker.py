"""Keeps requests away from a node that fails them."""

from collections.abc import Callable
from enum import IntEnum
from time import monotonic


class Circuit(IntEnum):
    """Values are those of the metric `circuit_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Says after `threshold` failures in a row that a node should get no more requests.

    Whether it then is opened is for the fleet to say. It stays open for a time that doubles, is half-open after it,
    and closes when a canary has come through.
    """

    __slots__ = ("_clock", "_failures", "_longest_s", "_open_s", "_opened_at", "_shortest_s", "_threshold")

    def __init__(
        self,
        *,
        threshold: int = 3,
        open_s: float = 1.0,
        longest_open_s: float = 30.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._threshold = threshold
        self._shortest_s, self._longest_s = open_s, longest_open_s
        self._clock = clock
        self._failures = 0
        self._open_s = open_s
        self._opened_at: float | None = None

    @property
    def state(self) -> Circuit:
        if self._opened_at is None:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if self._clock() - self._opened_at >= self._open_s else Circuit.OPEN

    @property
    def is_closed(self) -> bool:
        return self._opened_at is None

    @property
    def is_tripping(self) -> bool:
        """Whether it has seen enough to be opened."""
        return self._failures >= self._threshold

    def failed(self) -> None:
        self._failures += 1

    def succeeded(self) -> None:
        """Note an answer that came to its end; one that ends late does not close an open breaker."""
        self._failures = 0

    def open(self) -> None:
        """Let nobody through; for twice as long as the last time when the canary did not help."""
        if self._opened_at is not None:
            self._open_s = min(self._open_s * 2, self._longest_s)
        self._opened_at = self._clock()

    def close(self) -> None:
        self._failures, self._opened_at, self._open_s = 0, None, self._shortest_s

    def hurry(self) -> None:
        """Let the canary go at once: a node that was gone answers probes again."""
        if self._opened_at is not None:
            self._opened_at = self._clock() - self._open_s
