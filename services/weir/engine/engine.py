"""Continuous batching: requests join and leave while others decode.

One thread owns the graph, the slots and every `Generation`. Coroutines reach it through an inbox; it answers through
outboxes and never waits for an event loop.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    OverloadedError,
    ValidationError,
    WeirError,
)
from weir.contracts.events import Finished, GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.engine.constraints import Constraint, Constraints
from weir.engine.generation import Generation, Vocabulary
from weir.engine.observer import EngineObserver, EngineStats, SilentObserver
from weir.engine.outbox import Outbox, wake
from weir.engine.runner import StepPart, run_step
from weir.engine.scheduler import Scheduler, StepPlan
from weir.engine.sequence import new_sequence
from weir.engine.session import GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.speed import SpeedMeter
from weir.engine.step import PositionLogits
from weir.release.tokenizer import ReleaseTokenizer

_INLINE_PROMPT_CHARS = 4_096  # encoding more than this would hold up the event loop for milliseconds
_log = logging.getLogger("weir.engine")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine was made from; `threads` is what onnxruntime was given."""

    model: str
    version: int
    flavour: str
    threads: int
    eos_ids: tuple[int, ...]


class Engine:
    """Generates for many requests at once on one graph.

    A request's answer does not depend on who else is served (as far as the graph's kernels do not).
    """

    def __init__(
        self,
        session: GraphSession,
        tokenizer: ReleaseTokenizer,
        info: EngineInfo,
        *,
        settings: EngineSettings,
        observer: EngineObserver | None = None,
    ) -> None:
        self.info = info
        self._session = session
        self._tokenizer = tokenizer
        self._settings = settings
        self._observer = observer or SilentObserver()
        self._vocabulary = Vocabulary(tokenizer, session.graph.vocab_size, frozenset(info.eos_ids))
        self._constraints = Constraints(tokenizer, vocab_size=session.graph.vocab_size, eos_ids=info.eos_ids)
        self._scheduler = Scheduler(slots=session.slots, chunk_tokens=settings.prefill_chunk_tokens)
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
        self._accepting = True
        self._stopping = False
        self._failure: BackendError | None = None
        self._prompt_tokens = 0
        self._generated_tokens = 0
        self._running = 0
        self._kv_used_ratio = 0.0
        self._last_progress = time.monotonic()

    @property
    def context_tokens(self) -> int:
        """Prompt and completion together."""
        return self._session.context_tokens

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
                slots=self._session.slots,
                kv_used_ratio=self._kv_used_ratio,
                prompt_tokens_total=self._prompt_tokens,
                generated_tokens_total=self._generated_tokens,
                tokens_per_second=self._speed.tokens_per_second,
                last_progress=self._last_progress,
            )

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
            ValidationError: prompt and `max_new_tokens` do not fit into the context, or the grammar cannot be followed.
            OverloadedError: the queue is full; `retry_after_s` is computed from the speed measured so far.
            BackendUnavailableError: the engine is stopping.
            BackendError: the engine failed.
        """
        grammar = request.sampling.grammar
        constraint = None if grammar is None else await self._constraints.start(grammar)
        generation = self._let_in(request, await self._encoded(request.prompt), constraint)
        try:
            while True:
                for event in await generation.outbox.take():
                    yield event
                    if isinstance(event, Finished):
                        return
        finally:
            self._leave(generation)

    async def _encoded(self, prompt: str) -> list[int]:
        if len(prompt) <= _INLINE_PROMPT_CHARS:
            return self._tokenizer.encode(prompt)
        return await asyncio.to_thread(self._tokenizer.encode, prompt)

    def _let_in(self, request: GenerateRequest, prompt: list[int], constraint: Constraint | None) -> Generation:
        generation = Generation(
            new_sequence(next(self._ids), prompt),
            request,
            self._vocabulary,
            Outbox(asyncio.get_running_loop()),
            max_new_tokens=self._max_new_tokens(request, len(prompt)),
            constraint=constraint,
        )
        with self._news:
            if self._failure is not None:
                raise BackendError(str(self._failure))
            if not self._accepting:
                raise BackendUnavailableError("the engine is stopping")
            if len(self._live) >= self._session.slots + self._settings.max_waiting:
                raise OverloadedError(self._speed.retry_after_s())
            self._live[generation.sequence.id] = generation
            self._arrived.append(generation)
            self._news.notify()
        return generation

    def _max_new_tokens(self, request: GenerateRequest, prompt_tokens: int) -> int:
        room = self.context_tokens - prompt_tokens
        wanted = request.sampling.max_new_tokens
        if prompt_tokens == 0:
            raise ValidationError("the prompt holds no token", "prompt")
        if room < 1:
            raise ValidationError(
                f"{prompt_tokens} prompt tokens leave no room for an answer in a context of {self.context_tokens}",
                "prompt",
            )
        if wanted is not None and wanted > room:
            raise ValidationError(
                f"{prompt_tokens} prompt tokens + max_new_tokens {wanted} > context {self.context_tokens}",
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
                self._step(self._scheduler.plan())
        except Exception as error:  # noqa: BLE001  whatever it was, every caller must hear of it
            _log.exception("engine_failed")
            self._failure = BackendError(f"the engine failed: {type(error).__name__}")
            self._fail_all(self._failure)

    def _take_news(self) -> bool:
        """Wait until there is work; return False when the engine is to stop."""
        with self._news:
            while not (self._arrived or self._left or self._stopping or not self._scheduler.is_idle):
                self._news.wait()
            arrived, self._arrived = self._arrived, []
            left, self._left = self._left, []
            if arrived and self._scheduler.is_idle:
                self._last_progress = time.monotonic()  # a pause is not a stall
        for generation in arrived:
            self._scheduler.add(generation.sequence)
        for generation in left:
            self._scheduler.cancel(generation.sequence.id)
        self._forget([g for g in left if g.finished is None], "cancelled")
        self._publish()
        return not self._stopping

    def _step(self, plan: StepPlan) -> None:
        if plan.is_empty:
            return
        began = time.perf_counter()
        tokens: dict[int, int] = {}
        done: set[int] = set()
        for part in run_step(self._session, plan):
            done |= self._accept(part, tokens)
        self._speed.stepped(len(tokens), time.perf_counter() - began)
        self._scheduler.commit(plan, tokens, done=done)
        self._publish()

    def _accept(self, part: StepPart, tokens: dict[int, int]) -> set[int]:
        """Give each row its token, count those that ended, then tell the callers; return the ids that ended."""
        self._observer.stepped(part.stage, read=part.tokens, generated=len(part.rows), seconds=part.seconds)
        generations = [self._live[sequence.id] for sequence, _ in part.rows]
        for generation, (sequence, logits) in zip(generations, part.rows, strict=True):
            token = generation.accept(PositionLogits(int(logits.argmax()), full=logits))
            tokens[sequence.id] = -1 if token is None else token  # none: it ended with an error
        with self._news:
            self._generated_tokens += len(generations)
            self._prompt_tokens += part.tokens if part.stage == "prefill" else 0
            self._last_progress = time.monotonic()
        done = [g for g in generations if g.finished is not None]
        for generation in done:
            self._forget([generation], str(generation.finished))
        wake(g.outbox for g in generations)
        return {g.sequence.id for g in done}

    def _forget(self, generations: list[Generation], outcome: str) -> None:
        with self._news:
            known = [g for g in generations if self._live.pop(g.sequence.id, None) is not None]
            if not self._live:
                self._emptied.notify_all()
        for generation in known:
            self._speed.ended(generation.generated)
            self._observer.ended(outcome, prompt_tokens=generation.prompt_tokens, generated_tokens=generation.generated)

    def _publish(self) -> None:
        capacity = self._session.slots * self._session.context_tokens
        with self._news:
            self._running = self._scheduler.running
            self._kv_used_ratio = self._scheduler.cached_tokens / capacity

    def _fail_all(self, error: WeirError) -> None:
        with self._news:
            generations = list(self._live.values())
        for generation in generations:
            generation.fail(error)
        wake(g.outbox for g in generations)
        self._forget(generations, "error")
        with self._news:
            self._running, self._kv_used_ratio = 0, 0.0
