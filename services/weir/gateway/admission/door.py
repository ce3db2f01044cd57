"""Lets requests in, one by one, by the rules of `AdmissionPolicy`: the part with a clock and tasks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from time import monotonic

from weir.contracts.errors import DeadlineExceededError, OverloadedError
from weir.gateway.admission.capacity import Capacity, Sent
from weir.gateway.admission.flows import Work
from weir.gateway.admission.policy import AdmissionPolicy, Bounds, Refusal
from weir.gateway.refusals import KeyBusyError, SaturatedError
from weir.telemetry.metrics import GatewayMetrics

_SHORTEST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
_CAUTION = 0.6  # of what it may wait is what it should: to be let in and then time out is the worst
_FIRST_PAUSE_S = 0.05  # before a node that said it was full is asked again, while nothing of ours ends
_LONGEST_PAUSE_S = 1.0
_FIRST_QUEUE_TOKENS = 100_000.0  # while nobody knows how fast the nodes are


class Admission:
    """Bounds what runs and what waits; shares fairly between keys; waits for at most `queue_timeout_s`."""

    def __init__(self, metrics: GatewayMetrics, bounds: Bounds, *, queue_timeout_s: float) -> None:
        self._metrics = metrics
        self._policy = AdmissionPolicy(bounds)
        self._capacity = Capacity(bounds.running)
        self._queue_timeout_s = queue_timeout_s
        metrics.admission_limit.set(self._capacity.limit)
        self._turns: dict[Work, asyncio.Future[None]] = {}
        self._pause_s = _FIRST_PAUSE_S
        self._pause: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        return self._policy.running

    def expect(self, slots: int) -> None:
        """Take in how many requests the nodes answer together."""
        self._capacity.expect(slots)
        self._metrics.admission_limit.set(self._capacity.limit)
        if self._policy.waiting:
            self._let_in()

    async def enter(self, work: Work, deadline: float | None = None) -> "Place":
        """Return a place among those that run, once there is one; it must be left.

        Raises:
            KeyBusyError: the key waits with all that it may.
            SaturatedError: the queue is full, too long for this request, or no place came free in time.
            DeadlineExceededError: `deadline`, on `time.monotonic()`, has passed.
        """
        asked = monotonic()
        latest = asked + self._queue_timeout_s
        place = Place(self, work, latest, inf if deadline is None else deadline)
        if place.deadline <= asked:
            raise self._refused("deadline", work)
        self._policy.limit = self._limit
        if self._policy.begin(work):
            place.started, place.sent = asked, self._capacity.sent()
        else:
            self._offer(work, place.patience_s)
            await self.turn(place)
            place.queue_s = monotonic() - asked
        self._metrics.queue_wait.observe(place.queue_s)
        return place

    @asynccontextmanager
    async def admitted(self, work: Work, deadline: float | None = None) -> AsyncGenerator["Place", None]:
        """Hold a place while the block runs; see `enter`."""
        place = await self.enter(work, deadline)
        try:
            yield place
        finally:
            place.leave()

    def check(self, work: Work, deadline: float | None = None) -> None:
        """Refuse what `admitted` would refuse, before anything is spent on it; the sizes of `work` may be unknown yet.

        Raises:
            KeyBusyError, SaturatedError, DeadlineExceededError: as `admitted`.
        """
        patience_s = self._queue_timeout_s if deadline is None else min(self._queue_timeout_s, deadline - monotonic())
        if patience_s <= 0:
            raise self._refused("deadline", work)
        self._policy.limit = self._limit
        if self._policy.has_room(work):
            return
        if refusal := self._policy.refusal(work, most_ahead=self._most_ahead(patience_s)):
            raise self._refused(refusal.value, work)

    async def turn(self, place: "Place") -> None:
        """Wait until the queued work of `place` may run."""
        if not self._let_in(place.work):
            await self._wait(place)
        place.started = monotonic()
        if place.deadline <= place.started:  # the turn came in time, but this task did not run
            self._policy.finish(place.work, None)
            self._let_in()
            raise self._refused("deadline", place.work)
        place.sent = self._capacity.sent()

    async def _wait(self, place: "Place") -> None:
        work = place.work
        turn = self._turns[work] = asyncio.get_running_loop().create_future()
        self._show()
        try:
            async with asyncio.timeout(place.patience_s):
                await turn
        except TimeoutError:
            self._give_up(work, turn)
            raise self._refused("deadline" if place.deadline <= place.latest else "timeout", work) from None
        except asyncio.CancelledError:
            self._give_up(work, turn)
            raise
        finally:
            self._show()

    def put_back(self, place: "Place", retry_after_s: float) -> None:
        """Queue a running request again, first of its key: the nodes are full, and say for how long."""
        place.sent = None
        self._capacity.refused()
        if retry_after_s > place.patience_s and self._policy.running == 1:
            self._policy.finish(place.work, None)
            self._metrics.admission_refused(Refusal.SYSTEM.value).inc()
            raise SaturatedError(retry_after_s)
        self._policy.put_back(place.work)
        self._metrics.admission_limit.set(self._capacity.limit)
        if self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(self._pause_s, self._resume)
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def began(self, sent: Sent, wait_s: float) -> None:
        """Learn that a node began to answer after `wait_s`."""
        self._pause_s = _FIRST_PAUSE_S
        before = self._capacity.limit
        is_pressed = self._policy.waiting > 0 or self._policy.running >= before
        self._capacity.began(sent, wait_s, is_pressed=is_pressed)
        if self._capacity.limit != before:
            self._metrics.admission_limit.set(self._capacity.limit)
        if self._policy.waiting:
            self._let_in()

    def _offer(self, work: Work, patience_s: float) -> None:
        self._policy.limit = self._limit
        offer = self._policy.offer(work, most_ahead=self._most_ahead(patience_s))
        if offer.evicted is not None and not (turn := self._turns.pop(offer.evicted)).done():
            turn.set_exception(self._refused(Refusal.KEY.value, offer.evicted))
        if offer.refusal is not None:
            raise self._refused(offer.refusal.value, work)

    def _most_ahead(self, patience_s: float) -> float:
        rate = self._capacity.tokens_per_s
        return _FIRST_QUEUE_TOKENS if rate is None else rate * patience_s * _CAUTION

    def _let_in(self, newcomer: Work | None = None) -> bool:
        """Start whatever may start; say whether `newcomer`, which nobody waits for yet, is among it."""
        self._policy.limit = self._limit
        is_in = False
        while (work := self._policy.start()) is not None:
            if work is newcomer:
                is_in = True
                continue
            turn = self._turns.pop(work)
            if turn.done():  # its caller left in this very moment
                self._policy.finish(work, None)
            else:
                turn.set_result(None)
        return is_in

    def _give_up(self, work: Work, turn: "asyncio.Future[None]") -> None:
        """Undo what was given: a place in the queue, or among those that run, handed over in the very moment."""
        if self._turns.pop(work, None) is not None:
            self._policy.leave(work)
        elif not turn.cancelled() and turn.exception() is None:
            self._policy.finish(work, None)
        self._let_in()

    def leave(self, place: "Place") -> None:
        if place.sent is not None:
            self._capacity.left()
        if not place.is_queued:
            has_run = place.wait_s is not None
            self._policy.finish(place.work, place.answer_tokens if has_run else None)
            if place.wait_s is not None:
                seconds = monotonic() - place.started
                self._capacity.ended(place.wait_s, seconds, place.work.prompt_tokens + place.answer_tokens)
        if self._policy.waiting:
            self._let_in()

    @property
    def _limit(self) -> int:
        """How many may run now; none while the nodes are full with what others sent them."""
        return 0 if self._pause is not None and not self._policy.running else self._capacity.limit

    def _resume(self) -> None:
        self._pause = None
        self._capacity.probe()
        self._let_in()

    def _refused(self, reason: str, work: Work) -> OverloadedError | DeadlineExceededError:
        self._metrics.admission_refused(reason).inc()
        if reason == "deadline":
            return DeadlineExceededError()
        rate = self._capacity.tokens_per_s
        wait_s = self._policy.ahead_of(work) / rate if rate else 0.0
        kind = KeyBusyError if reason == Refusal.KEY.value else SaturatedError
        return kind(min(max(wait_s, _SHORTEST_RETRY_S), _LONGEST_RETRY_S))

    def _show(self) -> None:
        self._metrics.queue_depth.set(self._policy.waiting)
        self._metrics.queue_tokens.set(self._policy.waiting_tokens)


class Place:
    """What a request that was let in says to the door."""

    def __init__(self, door: Admission, work: Work, latest: float, deadline: float) -> None:
        self._door = door
        self.work = work
        self.latest = latest  # when it has waited for long enough, on `time.monotonic()`
        self.deadline = deadline
        self.is_queued = False
        self.queue_s = 0.0
        self.started = inf
        self.sent: Sent | None = None  # none while it is at no node
        self.wait_s: float | None = None  # the node's first token came after
        self.answer_tokens = 0

    @property
    def patience_s(self) -> float:
        """How long it may wait from now on."""
        return min(self.latest, self.deadline) - monotonic()

    def leave(self) -> None:
        """Give the place to somebody else."""
        self._door.leave(self)

    def began(self) -> None:
        """Note that the node began to answer."""
        self.wait_s = monotonic() - self.started
        if self.sent is not None:
            self._door.began(self.sent, self.wait_s)

    async def again(self, retry_after_s: float) -> None:
        """Give the place back, since no node had room, and wait for another one.

        Raises:
            SaturatedError: it did not come in time, or the nodes say that it will not.
            DeadlineExceededError: the deadline passed.
        """
        self.is_queued = True
        self._door.put_back(self, retry_after_s)
        await self._door.turn(self)
        self.is_queued = False
