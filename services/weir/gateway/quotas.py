"""Limits and budgets of keys: taken before work is done, corrected afterwards."""

import logging
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hmac import HMAC
from typing import Final

from weir.contracts.caller import Caller
from weir.gateway.denials import BudgetExhaustedError, Headers, KeysAwayError, LimitReachedError
from weir.gateway.generation import Accounted, Reservation
from weir.gateway.recording import Journal, used_by
from weir.store.database import StoreError
from weir.store.keys import Clock, now
from weir.store.limits import LimitStore, MemoryLimits, Refusal, Taken
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)

_FIRST_GUESS_TOKENS: Final = 256.0
_SMOOTHING: Final = 0.05  # weight of the newest answer in the mean length
_HEADERS: Final = {
    name: tuple(f"x-ratelimit-{what}-{name}".encode() for what in ("limit", "remaining", "reset"))
    for name in ("requests", "tokens")
}


class StoreLedger:
    """Holds callers to what their keys allow. Callers without limits pass untouched."""

    def __init__(
        self,
        limits: LimitStore,
        journal: Journal,
        metrics: GatewayMetrics,
        *,
        fails_open: bool = False,
        clock: Clock = now,
    ) -> None:
        self._limits = limits
        self._own = limits if isinstance(limits, MemoryLimits) else None  # which never keeps anybody waiting
        self._spare = MemoryLimits()
        self._journal = journal
        self._metrics = metrics
        self._fails_open = fails_open
        self._clock = clock
        self._reserved_tokens: dict[str, int] = {}
        self._mean_tokens = _FIRST_GUESS_TOKENS
        self._is_up: bool | None = None  # as the metric says
        if self._own is not None:
            self._found(is_up=True)

    async def admit(self, caller: Caller) -> None:
        """Count one request.

        Raises:
            LimitReachedError: the key has had its requests of this minute.
            BudgetExhaustedError: its tokens of this month are gone.
            KeysAwayError: the store of shared limits is away.
        """
        if caller.monthly_tokens is not None and self._journal.spent(caller.key_id) >= caller.monthly_tokens:
            raise self._broke()
        if caller.requests_per_min is not None:
            if self._own is not None:
                self._granted(self._own.take_now(caller, requests=1, tokens=0))
            else:
                await self._taken(caller, requests=1, tokens=0)

    async def reserve(self, generation: Accounted) -> None:
        """Take the tokens that a generation may use.

        Without a `max_new_tokens` of the caller's that is all that the context leaves, which hardly any answer uses:
        then the mean of recent answers is taken, and what is used beyond it counts against what follows.

        Raises:
            LimitReachedError, BudgetExhaustedError, KeysAwayError: as for `admit`.
        """
        generation.answer_hash = self.hasher()
        caller = generation.ask.context.caller
        if caller.tokens_per_min is None and caller.monthly_tokens is None:
            return
        longest = generation.max_new_tokens
        if generation.ask.request.sampling.max_new_tokens is None:
            longest = min(longest, round(self._mean_tokens))
        tokens = generation.prompt_tokens + longest
        if self._own is not None and caller.monthly_tokens is None:
            taken = self._granted(self._own.take_now(caller, requests=0, tokens=tokens))
            generation.reservation = Reservation(tokens, taken)
        else:
            generation.reservation = await self._reserved(caller, tokens)

    def hasher(self) -> HMAC | None:
        """As `Ledger.hasher`."""
        return self._journal.hasher() if self._journal.with_audit else None

    async def _reserved(self, caller: Caller, tokens: int) -> Reservation:
        reservation = Reservation(tokens)
        if caller.monthly_tokens is not None:
            reserved = self._reserved_tokens.get(caller.key_id, 0)
            if self._journal.spent(caller.key_id) + reserved + tokens > caller.monthly_tokens:
                raise self._broke()
            self._reserved_tokens[caller.key_id] = reserved + tokens
        try:
            if caller.tokens_per_min is not None:
                reservation.taken, reservation.in_memory = await self._taken(caller, requests=0, tokens=tokens)
        except BaseException:
            self._free(caller, reservation)
            raise
        return reservation

    def settle(self, generation: Accounted) -> None:
        """Give back what was not used, and write down what was; the only place where either happens."""
        self._journal.record(generation)
        if generation.generated_tokens:
            self._mean_tokens += _SMOOTHING * (generation.generated_tokens - self._mean_tokens)
        reservation, generation.reservation = generation.reservation, None
        if reservation is None:
            return
        caller = generation.ask.context.caller
        self._free(caller, reservation)
        if reservation.taken is not None:
            limits = self._spare if reservation.in_memory else self._limits
            limits.settle(caller, reservation.taken, used_by(generation).tokens)

    def headers(self, caller: Caller) -> Headers:
        """Return OpenAI's `x-ratelimit-*` headers for the limits that the key has."""
        if caller.requests_per_min is None and caller.tokens_per_min is None:
            return []
        headers: Headers = []
        for name, level in self._limits.levels(caller).items():
            limit, remaining, reset = _HEADERS[name]
            headers += (
                (limit, b"%d" % level.limit),
                (remaining, b"%d" % level.remaining),
                (reset, _duration(level.reset_s)),
            )
        return headers

    async def aclose(self) -> None:
        await self._limits.aclose()

    async def _taken(self, caller: Caller, *, requests: int, tokens: int) -> tuple[Taken, bool]:
        in_memory = False
        try:
            taken = await self._limits.take(caller, requests=requests, tokens=tokens)
            self._found(is_up=True)
        except StoreError:
            self._found(is_up=False)
            if not self._fails_open:
                raise KeysAwayError from None
            taken, in_memory = self._spare.take_now(caller, requests=requests, tokens=tokens), True
        return self._granted(taken), in_memory

    def _granted(self, taken: Taken | Refusal) -> Taken:
        if isinstance(taken, Refusal):
            self._metrics.limited(taken.limit).inc()
            is_final = taken.retry_after_s is None
            raise LimitReachedError(taken.limit, taken.retry_after_s or 60.0, is_final=is_final)
        return taken

    def _found(self, *, is_up: bool) -> None:
        if is_up is not self._is_up:
            self._is_up = is_up
            self._metrics.store_up("limits").set(is_up)

    def _free(self, caller: Caller, reservation: Reservation) -> None:
        if caller.monthly_tokens is None:
            return
        left = self._reserved_tokens.get(caller.key_id, 0) - reservation.tokens
        if left > 0:
            self._reserved_tokens[caller.key_id] = left
        else:
            self._reserved_tokens.pop(caller.key_id, None)

    def _broke(self) -> BudgetExhaustedError:
        self._metrics.limited("budget").inc()
        return BudgetExhaustedError(_until_next_month_s(self._clock()))


def _until_next_month_s(at: float) -> float:
    today = datetime.fromtimestamp(at, UTC)
    first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return max(((first + timedelta(days=32)).replace(day=1) - today).total_seconds(), 1.0)


def _duration(seconds: float) -> bytes:
    """Write a duration as OpenAI does: `6m0s`, `1.5s`, `20ms`, `0s`; longer ones in tenths of a second."""
    milliseconds = max(round(seconds * 1000), 0)
    return _milliseconds(milliseconds if milliseconds < 1000 else -(-milliseconds // 100) * 100)


@lru_cache(maxsize=4096)
def _milliseconds(milliseconds: int) -> bytes:
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    return (f"{minutes}m{text}" if minutes else text).encode()
