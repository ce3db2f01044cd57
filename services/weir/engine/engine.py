"""Continuous batching: requests join and leave while others decode.

One thread owns the model, its blocks and every `Generation`. Coroutines reach it through an inbox; it answers through
outboxes and never waits for an event loop.
"""

import asyncio
import heapq
import itertools
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    ValidationError,
    WeirError,
)
from weir.contracts.events import Finished, GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.engine.adapter_table import AdapterTable
from weir.engine.adapters import Adapter
from weir.engine.blocks import BlockPool
from weir.engine.chunking import StepTimes
from weir.engine.constraints import Constraint, Constraints
from weir.engine.entrance import check_entrance
from weir.engine.generation import Generation, Vocabulary
from weir.engine.observer import EngineObserver, EngineStats, SilentObserver
from weir.engine.outbox import Outbox, wake
from weir.engine.runner import run_step
from weir.engine.sequence import Sequence, new_sequence
from weir.engine.settings import EngineSettings
from weir.engine.speculation import Drafter
from weir.engine.speed import SpeedMeter
from weir.engine.step import Model
from weir.engine.stepping import make_scheduler, report_of
from weir.release.tokenizer import ReleaseTokenizer
from weir.telemetry.step_report import StepReport

_INLINE_PROMPT_CHARS = 4_096  # encoding more than this would hold up the event loop for milliseconds
_REST_S = 30.0  # far longer than any step
_log = logging.getLogger("weir.engine")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine was made from.

    `threads` is what onnxruntime was given, `adapters` are in the model's order, `device` is `cpu` or `cuda`.
    """

    model: str
    version: int
    flavour: str
    threads: int
    eos_ids: tuple[int, ...]
    adapters: tuple[str, ...] = ()
    device: str = "cpu"


class Engine:
    """Generates for many requests at once on one model.

    A request's answer does not depend on who else is served, nor on speculation, preemption or the prefix cache (on a
    model that is not exact: as far as its kernels do not).
    """

    def __init__(
        self,
        model: Model,
        tokenizer: ReleaseTokenizer,
        info: EngineInfo,
        *,
        settings: EngineSettings,
        observer: EngineObserver | None = None,
        make_drafter: Callable[[Sequence], Drafter] | None = None,
    ) -> None:
        self.info = info
        self._model = model
        self._tokenizer = tokenizer
        self._settings = settings
        self._observer = observer or SilentObserver()
        self._vocabulary = Vocabulary(tokenizer, model.vocab_size, frozenset(info.eos_ids))
        self._constraints = Constraints(tokenizer, vocab_size=model.vocab_size, eos_ids=info.eos_ids)
        self._slots = min(settings.max_running, model.blocks)
        self._most_tokens = min(model.context_tokens, model.blocks * model.block_tokens)
        self._pool = BlockPool(model.blocks, block_tokens=model.block_tokens)
        self._times = StepTimes()
        self._scheduler = make_scheduler(model, self._pool, self._times, settings, make_drafter)
        self._speed = SpeedMeter()
        self._ids = itertools.count()
        self._thread: threading.Thread | None = None
        # Shared with callers, under the lock; `_live` holds every request that was let in and has not ended.
        lock = threading.RLock()
        self._news = threading.Condition(lock)
        self._emptied = threading.Condition(lock)
        self._live: dict[int, Generation] = {}
        self._arrived: list[Generation] = []
        self._left: list[Generation] = []
        self._actions: list[Callable[[], None]] = []
        self._accepting = True
        self._stopping = False
        self._failure: BackendError | None = None
        self._prompt_tokens = 0
        self._generated_tokens = 0
        self._running = 0
        self._held_blocks = 0
        self._idle_blocks = 0
        self._last_progress = time.monotonic()
        self._adapters = AdapterTable(model, info.adapters, self._at_rest, self._is_used)
        # The engine's thread's own.
        self._deadlines: list[tuple[float, int]] = []

    @property
    def context_tokens(self) -> int:
        """Prompt and completion together."""
        return self._most_tokens

    @property
    def ready(self) -> bool:
        """Whether a request would be let in, a full queue aside."""
        return self._thread is not None and self._accepting and self._failure is None

    @property
    def failed(self) -> bool:
        """Whether the engine's thread died; nothing but a new engine helps."""
        return self._failure is not None

    @property
    def stats(self) -> EngineStats:
        with self._news:
            return EngineStats(
                queued=max(len(self._live) - self._running, 0),
                running=self._running,
                slots=self._slots,
                kv_used_ratio=self._held_blocks / self._model.blocks,
                kv_used_bytes=self._held_blocks * self._model.block_bytes,
                kv_budget_bytes=self._model.blocks * self._model.block_bytes,
                cached_blocks=self._idle_blocks,
                prompt_tokens_total=self._prompt_tokens,
                generated_tokens_total=self._generated_tokens,
                tokens_per_second=self._speed.tokens_per_second,
                last_progress=self._last_progress,
            )

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the LoRA adapters that requests may ask for."""
        return self._adapters.names

    async def add_adapter(self, adapter: Adapter) -> None:
        """As `AdapterTable.add`."""
        await self._adapters.add(adapter)

    async def remove_adapter(self, name: str) -> None:
        """As `AdapterTable.remove`."""
        await self._adapters.remove(name)

    def _is_used(self, adapter: int) -> bool:
        with self._news:
            return any(generation.sequence.adapter == adapter for generation in self._live.values())

    async def _at_rest(self, action: Callable[[], None]) -> None:
        """Have the engine's thread do something between two steps.

        Raises:
            BackendUnavailableError: it did not come to that: the engine is stopping.
        """
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def act() -> None:
            action()
            loop.call_soon_threadsafe(done.set)

        with self._news:
            self._actions.append(act)
            self._news.notify()
        try:
            async with asyncio.timeout(_REST_S):
                await done.wait()
        except TimeoutError:
            raise BackendUnavailableError("the engine is stopping") from None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="weir-engine", daemon=True)
        self._thread.start()

    async def stop(self, *, drain_s: float = 0.0) -> None:
        """Let nobody in, wait up to `drain_s` seconds for those inside, fail the rest, end the thread."""
        self._accepting = False
        await asyncio.to_thread(self._end_thread, drain_s)
        self._constraints.close()
        self._fail_all(BackendUnavailableError("the engine was stopped"))

    def _end_thread(self, drain_s: float) -> None:
        with self._news:
            self._emptied.wait_for(lambda: not self._live, drain_s)
            self._stopping = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Yield `TokenChunk`s, then one `Finished`; closing the generator ends the work within one step.

        Several tokens come as one chunk when the consumer is behind; the first is always alone.

        Raises:
            ValidationError: prompt and `max_new_tokens` do not fit into the context or into the key/value memory, or
                the grammar cannot be followed.
            OverloadedError: the queue is full; `retry_after_s` is computed from the speed measured so far.
            DeadlineExceededError: the request's `deadline_s` has passed.
            BackendUnavailableError: the engine is stopping.
            BackendError: the engine failed.
        """
        constraint = await self._constraint(request)
        generation = self._let_in(request, await self._prompt_of(request), constraint)
        try:
            while True:
                for event in await generation.outbox.take():
                    yield event
                    if isinstance(event, Finished):
                        return
        finally:
            self._leave(generation)

    async def _constraint(self, request: GenerateRequest) -> Constraint | None:
        if request.sampling.grammar is None:
            return None
        if not self._accepting:
            raise BackendUnavailableError("the engine is stopping")
        return await self._constraints.start(request.sampling.grammar)

    async def _prompt_of(self, request: GenerateRequest) -> list[int]:
        if not request.prompt_ids:
            return await self._encoded(request.prompt)
        if max(request.prompt_ids) >= self._vocabulary.size:
            raise ValidationError(f"a token id beyond the vocabulary of {self._vocabulary.size}", "prompt_ids")
        return list(request.prompt_ids)

    async def _encoded(self, prompt: str) -> list[int]:
        if len(prompt) <= _INLINE_PROMPT_CHARS:
            return self._tokenizer.encode(prompt)
        return await asyncio.to_thread(self._tokenizer.encode, prompt)

    def _let_in(self, request: GenerateRequest, prompt: list[int], constraint: Constraint | None) -> Generation:
        generation = self._new_generation(request, prompt, constraint)
        with self._news:
            is_full = len(self._live) >= self._slots + self._settings.max_waiting
            check_entrance(self._failure, self._speed, is_open=self._accepting, is_full=is_full)
            self._live[generation.sequence.id] = generation
            self._arrived.append(generation)
            self._news.notify()
        return generation

    def _new_generation(self, request: GenerateRequest, prompt: list[int], constraint: Constraint | None) -> Generation:
        max_new_tokens = self._max_new_tokens(request, len(prompt))
        sequence = new_sequence(next(self._ids), prompt, room=len(prompt) + max_new_tokens)
        sequence.priority, sequence.salt = request.priority, request.cache_salt
        sequence.adapter = self._adapters.number(request.adapter)
        sequence.scores_prompt = request.sampling.prompt_logprobs is not None
        if request.deadline_s is not None:
            sequence.deadline = time.monotonic() + request.deadline_s
        return Generation(
            sequence,
            request,
            self._vocabulary,
            Outbox(asyncio.get_running_loop()),
            max_new_tokens=max_new_tokens,
            constraint=constraint,
        )

    def _max_new_tokens(self, request: GenerateRequest, prompt_tokens: int) -> int:
        room = self._most_tokens - prompt_tokens
        wanted = request.sampling.max_new_tokens
        bound = "context" if self._most_tokens == self._model.context_tokens else "key/value memory, in tokens,"
        if prompt_tokens == 0:
            raise ValidationError("the prompt holds no token", "prompt")
        if room < 1:
            raise ValidationError(
                f"{prompt_tokens} prompt tokens leave no room for an answer in a {bound} of {self._most_tokens}",
                "prompt",
            )
        if wanted is not None and wanted > room:
            raise ValidationError(
                f"{prompt_tokens} prompt tokens + max_new_tokens {wanted} > {bound} {self._most_tokens}",
                "max_new_tokens",
            )
        return wanted or room

    def _leave(self, generation: Generation) -> None:
        """The caller went away, or has seen the end; nothing to do if the engine has forgotten it already."""
        with self._news:
            if generation.sequence.id in self._live:
                self._left.append(generation)
                self._news.notify()

    # From here on: the engine's thread.

    def _loop(self) -> None:
        try:
            while self._take_news():
                self._expire()
                self._step()
        except Exception as error:  # noqa: BLE001  whatever it was, every caller must hear of it
            _log.exception("engine_failed")
            self._failure = BackendError(f"the engine failed: {type(error).__name__}")
            self._fail_all(self._failure)

    def _take_news(self) -> bool:
        """Wait until there is work; return False when the engine is to stop."""
        with self._news:
            while not (self._arrived or self._left or self._actions or self._stopping or not self._scheduler.is_idle):
                self._news.wait()
            arrived, self._arrived = self._arrived, []
            left, self._left = self._left, []
            actions, self._actions = self._actions, []
            if arrived and self._scheduler.is_idle:
                self._last_progress = time.monotonic()  # a pause is not a stall
        for action in actions:
            action()
        for generation in arrived:
            self._scheduler.add(generation.sequence)
            if generation.sequence.deadline is not None:
                heapq.heappush(self._deadlines, (generation.sequence.deadline, generation.sequence.id))
        for generation in left:
            self._scheduler.cancel(generation.sequence.id)
        if left:
            self._forget([g for g in left if g.finished is None], "cancelled")
            self._publish()
        return not self._stopping

    def _expire(self) -> None:
        """Give up what is past its deadline, whether it waits or runs."""
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            _, sequence_id = heapq.heappop(self._deadlines)
            generation = self._live.get(sequence_id)
            if generation is None or generation.finished is not None:
                continue
            self._scheduler.cancel(sequence_id)
            generation.fail(DeadlineExceededError())
            self._forget([generation], "expired")
            self._publish()
            wake((generation.outbox,))

    def _step(self) -> None:
        began = time.perf_counter()
        plan = self._scheduler.plan()
        if plan.is_empty:
            return
        reads = plan.reads
        result = run_step(self._model, plan, self._live)
        generations = [self._live[sequence_id] for sequence_id in result.chosen]
        done = [g for g in generations if g.finished is not None]
        self._scheduler.commit(plan, result.chosen, done={g.sequence.id for g in done})
        report = report_of(plan, result)
        self._observer.stepped(report)
        for generation in done:
            self._forget([generation], str(generation.finished))
        self._publish(report)
        wake(g.outbox for g in generations)
        seconds = time.perf_counter() - began
        self._speed.stepped(report.generated, seconds)
        self._times.observe(report.read + report.decoded + report.drafted, reads, seconds)

    def _forget(self, generations: list[Generation], outcome: str) -> None:
        with self._news:
            known = [g for g in generations if self._live.pop(g.sequence.id, None) is not None]
            if not self._live:
                self._emptied.notify_all()
        for generation in known:
            self._speed.ended(generation.generated)
            self._observer.ended(outcome, prompt_tokens=generation.prompt_tokens, generated_tokens=generation.generated)

    def _publish(self, report: StepReport | None = None) -> None:
        with self._news:
            self._running = self._scheduler.running
            self._held_blocks, self._idle_blocks = self._pool.held, self._pool.idle
            if report is not None:
                self._generated_tokens += report.generated
                self._prompt_tokens += report.read
                self._last_progress = time.monotonic()

    def _fail_all(self, error: WeirError) -> None:
        with self._news:
            generations = list(self._live.values())
        for generation in generations:
            generation.fail(error)
        wake(g.outbox for g in generations)
        self._forget(generations, "error")
        with self._news:
            self._running = self._held_blocks = 0
