"""Limits and budgets of keys: taken before work is done, corrected afterwards."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from weir.contracts.caller import Caller
from weir.gateway.denials import BudgetExhaustedError, Headers, KeysAwayError, LimitReachedError
from weir.gateway.recording import Journal
from weir.store.database import StoreError
from weir.store.keys import Clock, now
from weir.store.limits import LimitStore, MemoryLimits, Refusal, Taken
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)

_FIRST_GUESS_TOKENS: Final = 256.0
_SMOOTHING: Final = 0.05  # weight of the newest answer in the mean length


@dataclass(slots=True)
class Reservation:
    """Tokens that one generation may use; `settle` it once, however the generation ends."""

    caller: Caller
    tokens: int
    taken: Taken | None = None
    in_memory: bool = False  # it was counted here because the shared store was away
    is_settled: bool = False


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
        self._spare = MemoryLimits()
        self._journal = journal
        self._metrics = metrics
        self._fails_open = fails_open
        self._clock = clock
        self._reserved: dict[str, int] = {}
        self._mean_tokens = _FIRST_GUESS_TOKENS

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
            await self._taken(caller, requests=1, tokens=0)

    async def reserve(self, caller: Caller, prompt_tokens: int, max_new_tokens: int, *, is_stated: bool) -> Reservation:
        """Take the tokens that a generation may use.

        Args:
            caller: who pays.
            prompt_tokens: what will be read.
            max_new_tokens: what may be generated.
            is_stated: the caller named that number. If not, it is all that the context leaves, which hardly any answer
                uses: then the mean of recent answers is taken, and what is used beyond it counts against what follows.

        Raises:
            LimitReachedError, BudgetExhaustedError, KeysAwayError: as for `admit`.
        """
        tokens = prompt_tokens + (max_new_tokens if is_stated else min(max_new_tokens, round(self._mean_tokens)))
        reservation = Reservation(caller, tokens)
        if caller.monthly_tokens is not None:
            reserved = self._reserved.get(caller.key_id, 0)
            if self._journal.spent(caller.key_id) + reserved + tokens > caller.monthly_tokens:
                raise self._broke()
            self._reserved[caller.key_id] = reserved + tokens
        try:
            if caller.tokens_per_min is not None:
                reservation.taken, reservation.in_memory = await self._taken(caller, requests=0, tokens=tokens)
        except BaseException:
            self._free(reservation)
            raise
        return reservation

    def settle(self, reservation: Reservation, *, prompt_tokens: int, generated_tokens: int) -> None:
        """Give back what was not used; 0 and 0 when no node saw it. Settling twice changes nothing."""
        if reservation.is_settled:
            return
        reservation.is_settled = True
        self._free(reservation)
        if generated_tokens:
            self._mean_tokens += _SMOOTHING * (generated_tokens - self._mean_tokens)
        if reservation.taken is not None:
            limits = self._spare if reservation.in_memory else self._limits
            limits.settle(reservation.caller, reservation.taken, prompt_tokens + generated_tokens)

    def headers(self, caller: Caller) -> Headers:
        """Return OpenAI's `x-ratelimit-*` headers for the limits that the key has."""
        if caller.requests_per_min is None and caller.tokens_per_min is None:
            return []
        headers: Headers = []
        for name, level in self._limits.levels(caller).items():
            headers += [
                (b"x-ratelimit-limit-%b" % name.encode(), b"%d" % level.limit),
                (b"x-ratelimit-remaining-%b" % name.encode(), b"%d" % level.remaining),
                (b"x-ratelimit-reset-%b" % name.encode(), _duration(level.reset_s)),
            ]
        return headers

    async def aclose(self) -> None:
        await self._limits.aclose()

    async def _taken(self, caller: Caller, *, requests: int, tokens: int) -> tuple[Taken, bool]:
        in_memory = False
        try:
            taken = await self._limits.take(caller, requests=requests, tokens=tokens)
            self._metrics.store_up("limits").set(1)
        except StoreError:
            self._metrics.store_up("limits").set(0)
            if not self._fails_open:
                raise KeysAwayError from None
            taken, in_memory = self._spare.take_now(caller, requests=requests, tokens=tokens), True
        if isinstance(taken, Refusal):
            self._metrics.limited(taken.limit).inc()
            is_final = taken.retry_after_s is None
            raise LimitReachedError(taken.limit, taken.retry_after_s or 60.0, is_final=is_final)
        return taken, in_memory

    def _free(self, reservation: Reservation) -> None:
        key_id = reservation.caller.key_id
        if reservation.caller.monthly_tokens is not None:
            left = self._reserved.get(key_id, 0) - reservation.tokens
            if left > 0:
                self._reserved[key_id] = left
            else:
                self._reserved.pop(key_id, None)

    def _broke(self) -> BudgetExhaustedError:
        self._metrics.limited("budget").inc()
        return BudgetExhaustedError(_until_next_month_s(self._clock()))


def _until_next_month_s(at: float) -> float:
    today = datetime.fromtimestamp(at, UTC)
    first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return max(((first + timedelta(days=32)).replace(day=1) - today).total_seconds(), 1.0)


def _duration(seconds: float) -> bytes:
    """Write a duration as OpenAI does: `6m0s`, `1.5s`, `20ms`, `0s`."""
    milliseconds = max(round(seconds * 1000), 0)
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    return (f"{minutes}m{text}" if minutes else text).encode()
