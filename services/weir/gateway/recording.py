"""Usage and audit: noted in memory while a request ends, written by a background task, twice a second."""

import asyncio
import hmac
import logging
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from time import monotonic
from typing import Final

from weir.contracts.caller import Caller
from weir.gateway.findings import audited
from weir.gateway.generation import Accounted
from weir.store.database import StoreError
from weir.store.keys import now
from weir.store.records import AuditRow, RecordStore, UsageSlot, Used, day_of, month_of
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)

_SAVE_S: Final = 0.5
_MAX_WAITING: Final = 20_000  # audit rows, about 1 KB each
_BATCH: Final = 2_000
_PRUNE_S: Final = 3600.0
_DAY_S: Final = 86_400.0
_DAY_MS: Final = 86_400_000
_LAST_SAVE_S: Final = 3.0


def used_by(generation: Accounted) -> Used:
    """Return what counts against the caller: nothing is read before a node, or the cache, has the request."""
    read = generation.prompt_tokens if generation.pool != "none" else 0
    return Used(1, read, generation.generated_tokens)


class Journal:
    """What one gateway process has to write down. Nothing here waits or fails while a request is served.

    A kill loses what was noted since the last write. While the database is away, counts add up and audit rows wait;
    what does not fit any more is dropped and counted.
    """

    def __init__(
        self, metrics: GatewayMetrics, audit_key: bytes = b"", *, audit_days: int = 0, clock: Callable[[], float] = now
    ) -> None:
        self._metrics = metrics
        self._hmac = hmac.new(audit_key or b"\0", digestmod="sha256")
        self._audit_days = audit_days
        self._clock = clock
        self._ended: list[Accounted] = []
        self._epoch = clock() - monotonic()  # looked at now and then: the time of day costs a microsecond
        self._usage: dict[UsageSlot, Used] = {}
        self._unsettled: list[tuple[Accounted, float]] = []  # ended, but the second tier has not spoken yet
        self._audit: deque[AuditRow] = deque()
        self._unsaved: dict[tuple[str, str], int] = {}
        self._spent: dict[tuple[str, str], int] = {}
        self._budgets: set[str] = set()
        self._pruned_at = float("-inf")
        self._day, self._day_ends = "", float("-inf")
        metrics.before_fold(self._fold)

    @property
    def with_audit(self) -> bool:
        return self._audit_days > 0

    def hasher(self) -> hmac.HMAC:
        """Return a fresh HMAC for one text that comes in pieces."""
        return self._hmac.copy()

    def seal(self, text: str) -> str:
        """Return the HMAC of a text."""
        hasher = self.hasher()
        hasher.update(text.encode("utf-8", "surrogatepass"))
        return hasher.hexdigest()

    def record(self, generation: Accounted) -> None:
        """Note one request that has ended, however it did. What its key may still spend is known at once."""
        self._ended.append(generation)
        caller = generation.ask.context.caller
        if caller.monthly_tokens is not None:
            where = (caller.key_id, month_of(self._epoch + generation.ended))
            self._unsaved[where] = self._unsaved.get(where, 0) + used_by(generation).tokens
            self._budgets.add(caller.key_id)

    def _fold(self) -> None:
        """Add up usage and make the audit rows of those that have ended."""
        ended = self._ended[:]
        del self._ended[: len(ended)]
        for generation in ended:
            at = self._epoch + generation.ended
            used = used_by(generation)
            slot = UsageSlot(generation.ask.context.caller.key_id, generation.model.name, self._day_of(at))
            before = self._usage.get(slot)
            self._usage[slot] = used if before is None else before.plus(used)
            if self.with_audit:
                self._unsettled.append((generation, at))
        waiting, self._unsettled = self._unsettled, []
        for generation, at in waiting:
            if generation.screening is None or generation.screening.is_settled:
                self._audit.append(self._row(generation, at))
            else:
                self._unsettled.append((generation, at))
        self._epoch = self._clock() - monotonic()
        self._bound()

    def _day_of(self, at: float) -> str:
        if not self._day_ends - _DAY_S <= at < self._day_ends:
            self._day, self._day_ends = day_of(at), (at // _DAY_S + 1) * _DAY_S
        return self._day

    def spent(self, key_id: str) -> int:
        """Return the tokens that a key used this month: what the database last said, and what it does not know yet."""
        where = (key_id, month_of(self._clock()))
        return self._spent.get(where, 0) + self._unsaved.get(where, 0)

    def load_spent(self, store: RecordStore, callers: Collection[Caller]) -> None:
        """Read where budgets stand, before the first request.

        Raises:
            StoreError: the database is away.
        """
        month = month_of(self._clock())
        key_ids = [caller.key_id for caller in callers if caller.monthly_tokens is not None]
        self._spent |= {(key_id, month): tokens for key_id, tokens in store.spent(key_ids, month).items()}

    async def keep(self, store: RecordStore, executor: Executor) -> None:
        """Write what was noted until cancelled."""
        while True:
            await asyncio.sleep(_SAVE_S)
            await self.save(store, executor)

    async def finish(self, store: RecordStore, executor: Executor) -> None:
        """Write the rest, if the database takes it in time."""
        try:
            async with asyncio.timeout(_LAST_SAVE_S):
                self._metrics.fold()
                while (self._usage or self._audit) and await self.save(store, executor):
                    pass
        except TimeoutError:
            _log.warning("records_lost", extra={"audit": len(self._audit)})

    async def save(self, store: RecordStore, executor: Executor) -> bool:
        """Write one batch; whether that went well. What could not be written is kept for the next one."""
        self._metrics.fold()
        usage, self._usage = self._usage, {}
        audit = [self._audit.popleft() for _ in range(min(len(self._audit), _BATCH))]
        budgets, self._budgets = self._budgets, set()
        month, began = month_of(self._clock()), monotonic()

        def write() -> dict[str, int]:
            store.write(usage, audit)
            self._prune(store)
            return store.spent(sorted(budgets), month)

        try:
            spent = await asyncio.get_running_loop().run_in_executor(executor, write)
        except StoreError as error:
            self._put_back(usage, audit, budgets)
            _log.warning("records_not_written", extra={"reason": str(error), "waiting": len(self._audit)})
            return False
        self._saved(usage)
        self._spent |= {(key_id, month): tokens for key_id, tokens in spent.items()}
        self._metrics.audit_waiting.set(len(self._audit))
        if usage or audit:
            self._metrics.store_write.observe(monotonic() - began)
        return True

    def _saved(self, usage: dict[UsageSlot, Used]) -> None:
        """What the database now knows is not added to what it says any more."""
        for slot, used in usage.items():
            where = (slot.key_id, slot.day[:7])
            if where in self._unsaved:
                self._unsaved[where] -= used.tokens
                self._spent[where] = self._spent.get(where, 0) + used.tokens

    def _put_back(self, usage: dict[UsageSlot, Used], audit: list[AuditRow], budgets: set[str]) -> None:
        for slot, used in usage.items():
            since = self._usage.get(slot)
            self._usage[slot] = used if since is None else used.plus(since)
        self._budgets |= budgets
        self._audit.extendleft(reversed(audit))
        self._bound()

    def _bound(self) -> None:
        while len(self._audit) > _MAX_WAITING:
            self._audit.popleft()
            self._metrics.audit_dropped.inc()

    def _prune(self, store: RecordStore) -> None:
        """Delete what is too old, some of it at a time."""
        if self.with_audit and monotonic() - self._pruned_at >= _PRUNE_S:
            before_ms = int(self._clock() * 1000) - self._audit_days * _DAY_MS
            if store.prune_audit(before_ms) == 0:
                self._pruned_at = monotonic()

    def _row(self, generation: Accounted, at: float) -> AuditRow:
        ask, model = generation.ask, generation.model
        caller = ask.context.caller
        return AuditRow(
            at_ms=int(at * 1000),
            request_id=ask.context.id,
            key_id=caller.key_id,
            tenant=caller.tenant,
            route=ask.route,
            model=model.name,
            version=model.version,
            pool=generation.pool,
            status=generation.status,
            verdicts=" ".join(dict.fromkeys(generation.verdicts)) if generation.verdicts else "",
            blocked_by=generation.blocked_by,
            prompt_tokens=generation.prompt_tokens,
            generated_tokens=generation.generated_tokens,
            duration_ms=round((generation.ended - generation.began) * 1000),
            prompt_hmac=self._prompt_hmac(generation),
            answer_hmac="" if generation.answer_hash is None else generation.answer_hash.hexdigest(),
            policy=f"{generation.guard.policy_id}@{generation.guard.policy_sha256[:12]}",
            finds=audited(generation.notes),
        )

    def _prompt_hmac(self, generation: Accounted) -> str:
        """Tell equal prompts: the text as it was sent, or each message with its role and length."""
        request, hasher = generation.ask.request, self.hasher()
        hasher.update(request.prompt.encode("utf-8", "surrogatepass"))
        for message in request.messages:
            content = message.content.encode("utf-8", "surrogatepass")
            hasher.update(b"%b %d " % (message.role.encode(), len(content)) + content)
        return hasher.hexdigest()
