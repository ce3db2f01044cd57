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
    """Opens after `threshold` failures in a row, for a time that doubles; then lets one trial request through."""

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
        self._has_trial = False

    @property
    def state(self) -> Circuit:
        if self._opened_at is None:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if self._clock() - self._opened_at >= self._open_s else Circuit.OPEN

    def admits(self) -> bool:
        """Whether a request may be sent now; asking changes nothing."""
        match self.state:
            case Circuit.CLOSED:
                return True
            case Circuit.HALF_OPEN:
                return not self._has_trial
            case Circuit.OPEN:
                return False

    def sent(self) -> None:
        """Note that a request goes out; in the half-open state it is the trial."""
        self._has_trial = self.state is Circuit.HALF_OPEN

    def succeeded(self) -> None:
        self._failures, self._opened_at, self._has_trial = 0, None, False
        self._open_s = self._shortest_s

    def failed(self) -> None:
        self._failures += 1
        if self._opened_at is not None:
            self._open_s = min(self._open_s * 2, self._longest_s)
        if self._opened_at is not None or self._failures >= self._threshold:
            self._opened_at = self._clock()
        self._has_trial = False

    def gave_up(self) -> None:
        """Note that the caller went away before the outcome was known."""
        self._has_trial = False

    def reappeared(self) -> None:
        """Note that a node that was gone answers probes again: it gets its trial now."""
        if self._opened_at is not None:
            self._opened_at = self._clock() - self._open_s
