"""How much of its limits a key has used: requests and tokens in any 60 seconds.

A window is kept as whole seconds. A second leaves it only when all of it is older than the window, so no 60 seconds,
however they are chosen, hold more than the limit (a counter per calendar minute would let twice as much through).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal, NamedTuple, Protocol

from weir.contracts.caller import Caller

WINDOW_S: Final = 60
LimitName = Literal["requests", "tokens"]


class Level(NamedTuple):
    """Where one limit stands. `reset_s`: until all of it is free again."""

    limit: int
    remaining: int
    reset_s: float


class Refusal(NamedTuple):
    """Which limit said no, and when the same would pass; none: never, it asks for more than the limit itself."""

    limit: LimitName
    retry_after_s: float | None


class Taken(NamedTuple):
    """What was taken, and in which second: enough to give it back."""

    key_id: str
    second: int
    tokens: int


class LimitStore(Protocol):
    """Counts for one process, or for all that share a Redis."""

    async def take(self, caller: Caller, *, requests: int, tokens: int) -> Taken | Refusal:
        """Take all of it, or nothing.

        Raises:
            StoreError: the counts are kept elsewhere, and that is away.
        """
        ...

    def settle(self, caller: Caller, taken: Taken, tokens: int) -> None:
        """Say how many tokens were used in the end; never waits, and fails without a word."""
        ...

    def levels(self, caller: Caller) -> dict[LimitName, Level]:
        """Return what is known here and now of the limits that the key has."""
        ...

    async def aclose(self) -> None: ...


@dataclass(slots=True)
class SlidingWindow:
    """Amounts by the second in which they were taken; `total` is their sum."""

    window_s: int = WINDOW_S
    seconds: dict[int, int] = field(default_factory=dict)  # in order of time
    total: int = 0
    _forgotten: int = -1  # all before this second

    def forget(self, now: float) -> None:
        """Let go of the seconds that are over for good."""
        oldest = int(now) - self.window_s
        if oldest == self._forgotten:
            return
        self._forgotten = oldest
        while self.seconds and (first := next(iter(self.seconds))) < oldest:
            self.total -= self.seconds.pop(first)

    def take(self, now: float, amount: int) -> None:
        second = int(now)
        self.seconds[second] = self.seconds.get(second, 0) + amount
        self.total += amount

    def refusal(self, now: float, amount: int, name: LimitName, limit: int | None) -> Refusal | None:
        """Say whether `amount` more is too much."""
        self.forget(now)
        if limit is None or self.total + amount <= limit:
            return None
        return Refusal(name, self.wait_s(now, amount, limit))

    def settle(self, now: float, second: int, change: int) -> None:
        """Correct what was taken in `second`. What was used beyond it counts now if that second is over."""
        self.forget(now)
        if second not in self.seconds:
            if change <= 0:
                return
            second = int(now)
        before = self.seconds.get(second, 0)
        after = self.seconds[second] = max(before + change, 0)
        self.total += after - before

    def wait_s(self, now: float, amount: int, limit: int) -> float | None:
        """Return how long until `amount` fits; none when it never does."""
        if amount > limit:
            return None
        excess = self.total + amount - limit
        for second, taken in self.seconds.items():
            if excess <= 0:
                break
            excess -= taken
            if excess <= 0:
                return max(second + self.window_s + 1 - now, 0.001)
        return 0.0

    def level(self, now: float, limit: int) -> Level:
        self.forget(now)
        newest = next(reversed(self.seconds), None) if self.total else None
        reset_s = 0.0 if newest is None else newest + self.window_s + 1 - now
        return Level(limit, max(limit - self.total, 0), reset_s)


class _Windows(NamedTuple):
    """Of one key."""

    requests: SlidingWindow
    tokens: SlidingWindow


class MemoryLimits:
    """The limits of one process."""

    def __init__(self, clock: Callable[[], float] = monotonic, *, window_s: int = WINDOW_S) -> None:
        self._window_s = window_s
        self._clock = clock
        self._windows: dict[str, _Windows] = {}

    async def take(self, caller: Caller, *, requests: int, tokens: int) -> Taken | Refusal:
        return self.take_now(caller, requests=requests, tokens=tokens)

    def take_now(self, caller: Caller, *, requests: int, tokens: int) -> Taken | Refusal:
        now, windows = self._clock(), self._of(caller)
        has_requests = bool(requests) and caller.requests_per_min is not None
        has_tokens = bool(tokens) and caller.tokens_per_min is not None
        if has_requests and (refusal := windows.requests.refusal(now, requests, "requests", caller.requests_per_min)):
            return refusal
        if has_tokens and (refusal := windows.tokens.refusal(now, tokens, "tokens", caller.tokens_per_min)):
            return refusal
        if has_requests:
            windows.requests.take(now, requests)
        if has_tokens:
            windows.tokens.take(now, tokens)
        return Taken(caller.key_id, int(now), tokens)

    def settle(self, caller: Caller, taken: Taken, tokens: int) -> None:
        if caller.tokens_per_min is not None and tokens != taken.tokens:
            self._of(caller).tokens.settle(self._clock(), taken.second, tokens - taken.tokens)

    def levels(self, caller: Caller) -> dict[LimitName, Level]:
        now, windows = self._clock(), self._of(caller)
        levels: dict[LimitName, Level] = {}
        if caller.requests_per_min is not None:
            levels["requests"] = windows.requests.level(now, caller.requests_per_min)
        if caller.tokens_per_min is not None:
            levels["tokens"] = windows.tokens.level(now, caller.tokens_per_min)
        return levels

    async def aclose(self) -> None:
        return

    def _of(self, caller: Caller) -> _Windows:
        windows = self._windows.get(caller.key_id)
        if windows is None:
            made = SlidingWindow(self._window_s), SlidingWindow(self._window_s)
            windows = self._windows[caller.key_id] = _Windows(*made)
        return windows


def limits_of(caller: Caller) -> dict[LimitName, int]:
    """Return the limits that a key has."""
    found: dict[LimitName, int] = {}
    if caller.requests_per_min is not None:
        found["requests"] = caller.requests_per_min
    if caller.tokens_per_min is not None:
        found["tokens"] = caller.tokens_per_min
    return found
