"""The engine `genai-paged`: onnxruntime-genai's own continuous batching over PagedAttention, on an NVIDIA GPU.

Scheduling, keys and values and sampling are onnxruntime-genai's; requests, texts, stop strings, deadlines and bounds
are as in `weir.engine.engine`. With a graph for the CPU it runs too, batch by batch: so it is tested without a GPU.
"""

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np

from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    ValidationError,
    WeirError,
)
from weir.contracts.events import Finished, FinishReason, GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.engine.engine import EngineInfo
from weir.engine.entrance import check_entrance
from weir.engine.genai_turn import Turn, refuse_unsupported, set_options
from weir.engine.generation import Vocabulary
from weir.engine.observer import EngineObserver, EngineStats, SilentObserver
from weir.engine.outbox import Outbox, wake
from weir.engine.settings import EngineSettings
from weir.engine.speed import SpeedMeter
from weir.release.tokenizer import ReleaseTokenizer
from weir.telemetry.step_report import StepReport

_log = logging.getLogger("weir.engine")
_EVENTS: Final = 1024


class Asked(Protocol):
    """A request as `GenaiModel` sees it; `Turn` says what its parts are."""

    request: GenerateRequest
    prompt: list[int]
    max_new_tokens: int
    handle: Any
    number: int
    is_over: bool

    def take(self, token: int) -> None: ...
    def end(self, reason: FinishReason) -> None: ...
    def end_of_sequence(self) -> None: ...
    def fail(self, error: WeirError, outcome: str) -> None: ...


A = TypeVar("A", bound=Asked)


class GenaiModel(Generic[A]):
    """An onnxruntime-genai model and its engine; `og` is the module."""

    def __init__(self, og: Any, folder: Path, *, max_batch_size: int, batching: str) -> None:
        config = og.Config(str(folder))
        config.overlay(json.dumps({"engine": {batching: {"max_batch_size": max_batch_size}}}))
        written = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        self.context_tokens, self.vocab_size = int(written["context_length"]), int(written["vocab_size"])
        self._takes_seeds = batching == "dynamic_batching"
        self._og = og
        self._model = og.Model(config)
        self._engine = og.Engine(self._model)
        self._buffer = self._engine.create_event_buffer(_EVENTS)
        self._turns: dict[int, A] = {}  # by the identity of their handles, which they keep alive

    @property
    def running(self) -> int:
        return len(self._turns)

    def begin(self, turn: A) -> None:
        turn.handle = self._engine.create_request()
        options = self._og.TurnOptions(turn.handle)
        set_options(options, turn.request.sampling, turn.max_new_tokens, takes_seeds=self._takes_seeds)
        turn.number = turn.handle.begin_turn(np.array(turn.prompt, np.int32), options)
        self._turns[id(turn.handle)] = turn

    def cancel(self, turn: A) -> None:
        """Have it end; the engine says when it has."""
        if id(turn.handle) in self._turns:
            turn.handle.cancel_turn(turn.number)

    def step(self) -> list[A]:
        """Run once; return the turns that were given a token, in order, one entry a token."""
        flags = self._og.EngineEventFlags
        told: list[A] = []
        for event in self._engine.run(self._buffer):
            turn = self._turns[id(event.request)]
            seen = int(event.flags)
            if seen & int(flags.TOKEN) and not turn.is_over:
                turn.take(int(event.token))
                told.append(turn)
            if seen & int(flags.FAILED):
                turn.fail(_failure(event, retryable=bool(seen & int(flags.RETRYABLE))), "error")
            if seen & (int(flags.TURN_FINISHED) | int(flags.FAILED)):
                self._let_go(turn, event)
            elif turn.is_over:
                self.cancel(turn)  # it ended by our own rules: a stop string, say
        return told

    def _let_go(self, turn: A, event: Any) -> None:
        if not turn.is_over and event.finish_reason == self._og.FinishReason.EOS:
            turn.end_of_sequence()
        elif not turn.is_over:
            turn.end(FinishReason.LENGTH)
        del self._turns[id(turn.handle)]
        turn.handle.close()


def _failure(event: Any, *, retryable: bool) -> WeirError:
    if retryable:
        return OverloadedError(1.0)
    return BackendError(f"the engine gave a request up ({event.error_code.name})")


class GenaiEngine:
    """Implements `weir.engine.serving.ServingEngine` over the `GenaiModel` that `open_model` returns.

    onnxruntime-genai's engine belongs to the thread that made it, so `open_model` is called on the engine's thread; the
    constructor waits for it.

    Raises:
        WeirError: whatever `open_model` raises.
    """

    def __init__(
        self,
        open_model: Callable[[], GenaiModel[Turn]],
        tokenizer: ReleaseTokenizer,
        info: EngineInfo,
        *,
        settings: EngineSettings,
        observer: EngineObserver | None = None,
    ) -> None:
        self.info = info
        self._tokenizer = tokenizer
        self._settings = settings
        self._observer = observer or SilentObserver()
        self._speed = SpeedMeter()
        self._is_started = False
        # Shared with callers, under the lock.
        self._news = threading.Condition()
        self._live: set[Turn] = set()
        self._arrived: list[Turn] = []
        self._left: list[Turn] = []
        self._accepting = True
        self._stopping = False
        self._failure: BackendError | None = None
        self._running = self._prompt_tokens = self._generated_tokens = 0
        self._last_progress = time.monotonic()
        self._waiting: deque[Turn] = deque()  # the engine's thread's own
        opened: Future[GenaiModel[Turn]] = Future()
        self._thread = threading.Thread(target=self._live_on, args=(open_model, opened), name="weir-genai", daemon=True)
        self._thread.start()
        self._model = opened.result()
        most = self._model.context_tokens
        self.context_tokens = min(most, settings.max_context_tokens or most)
        self._vocabulary = Vocabulary(tokenizer, self._model.vocab_size, frozenset(info.eos_ids))

    @property
    def ready(self) -> bool:
        return self._is_started and self._accepting and self._failure is None

    @property
    def failed(self) -> bool:
        return self._failure is not None

    @property
    def stats(self) -> EngineStats:
        """Of keys and values onnxruntime-genai says nothing: those figures are 0."""
        with self._news:
            return EngineStats(
                queued=max(len(self._live) - self._running, 0),
                running=self._running,
                slots=self._settings.max_running,
                kv_used_ratio=0.0,
                kv_used_bytes=0,
                kv_budget_bytes=0,
                cached_blocks=0,
                prompt_tokens_total=self._prompt_tokens,
                generated_tokens_total=self._generated_tokens,
                tokens_per_second=self._speed.tokens_per_second,
                last_progress=self._last_progress,
            )

    def start(self) -> None:
        with self._news:
            self._is_started = True
            self._news.notify_all()

    async def stop(self, *, drain_s: float = 0.0) -> None:
        """Let nobody in, wait up to `drain_s` seconds for those inside, fail the rest, end the thread."""
        self._accepting = False
        await asyncio.to_thread(self._end_thread, drain_s)
        self._fail_all(BackendUnavailableError("the engine was stopped"))

    def _end_thread(self, drain_s: float) -> None:
        with self._news:
            self._news.wait_for(lambda: not self._live, drain_s)
            self._stopping = True
            self._news.notify_all()
        self._thread.join()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        """As `Engine.generate`; chunks carry no tokens. What this engine does not know is a `ValidationError`."""
        refuse_unsupported(request)
        prompt = list(request.prompt_ids) or await asyncio.to_thread(self._tokenizer.encode, request.prompt)
        turn = self._let_in(request, prompt)
        try:
            while True:
                for event in await turn.outbox.take():
                    yield event
                    if isinstance(event, Finished):
                        return
        finally:
            with self._news:
                if turn in self._live:
                    self._left.append(turn)
                    self._news.notify_all()

    def _let_in(self, request: GenerateRequest, prompt: list[int]) -> Turn:
        most = self._max_new_tokens(request, prompt)
        turn = Turn(request, prompt, most, self._vocabulary, Outbox(asyncio.get_running_loop()))
        if request.deadline_s is not None:
            turn.deadline = time.monotonic() + request.deadline_s
        with self._news:
            is_full = len(self._live) >= self._settings.max_running + self._settings.max_waiting
            check_entrance(self._failure, self._speed, is_open=self._accepting, is_full=is_full)
            self._live.add(turn)
            self._arrived.append(turn)
            self._news.notify_all()
        return turn

    def _max_new_tokens(self, request: GenerateRequest, prompt: list[int]) -> int:
        room = self.context_tokens - len(prompt)
        if not prompt:
            raise ValidationError("the prompt holds no token", "prompt")
        if max(prompt) >= self._vocabulary.size:
            raise ValidationError(f"a token id beyond the vocabulary of {self._vocabulary.size}", "prompt_ids")
        wanted = request.sampling.max_new_tokens
        if room < 1 or (wanted is not None and wanted > room):
            field = "prompt" if room < 1 else "max_new_tokens"
            raise ValidationError(f"{len(prompt)} prompt tokens and the answer > context {self.context_tokens}", field)
        return wanted or room

    # From here on: the engine's thread.

    def _live_on(self, open_model: Callable[[], GenaiModel[Turn]], opened: "Future[GenaiModel[Turn]]") -> None:
        try:
            model = open_model()
        except BaseException as error:  # noqa: BLE001  it is for whoever opens the engine
            opened.set_exception(error)
            return
        opened.set_result(model)
        with self._news:
            self._news.wait_for(lambda: self._is_started or self._stopping)
        self._loop()

    def _loop(self) -> None:
        try:
            while self._take_news():
                self._expire()
                self._begin()
                if self._model.running:
                    self._step()
        except Exception as error:  # noqa: BLE001  whatever it was, every caller must hear of it
            _log.exception("engine_failed")
            self._failure = BackendError(f"the engine failed: {type(error).__name__}")
            self._fail_all(self._failure)

    def _take_news(self) -> bool:
        """Wait until there is work; return False when the engine is to stop."""
        with self._news:
            while not (self._arrived or self._left or self._stopping or self._model.running or self._waiting):
                self._news.wait()
            if self._arrived and not self._model.running:
                self._last_progress = time.monotonic()  # a pause is not a stall
            self._waiting.extend(self._arrived)
            left = self._left[:]
            self._arrived.clear()
            self._left.clear()
        self._give_up(left)
        return not self._stopping

    def _give_up(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            turn.is_over = True
            if turn.handle is None:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                self._forget((turn,))
            else:
                self._model.cancel(turn)

    def _expire(self) -> None:
        now = time.monotonic()
        with self._news:
            late = [t for t in self._live if t.deadline is not None and t.deadline <= now and not t.is_over]
        for turn in late:
            turn.fail(DeadlineExceededError(), "expired")
        self._give_up(late)
        wake(turn.outbox for turn in late)

    def _begin(self) -> None:
        while self._waiting and self._model.running < self._settings.max_running:
            turn = self._waiting.popleft()
            self._model.begin(turn)
            self._prompt_tokens += len(turn.prompt)

    def _step(self) -> None:
        began = time.perf_counter()
        told = self._model.step()
        seconds = time.perf_counter() - began
        first = [turn for turn in set(told) if turn.generated == told.count(turn)]
        read = sum(len(turn.prompt) for turn in first)
        self._observer.stepped(
            StepReport("mixed" if read else "decode", len(set(told)), read=read, generated=len(told), seconds=seconds)
        )
        self._speed.stepped(len(told), seconds)
        with self._news:
            over = [turn for turn in self._live if turn.is_over]
        self._forget(over)
        wake(turn.outbox for turn in set(told))
        with self._news:
            self._running = self._model.running
            self._generated_tokens += len(told)
            if told:
                self._last_progress = time.monotonic()

    def _forget(self, turns: Iterable[Turn]) -> None:
        with self._news:
            known = [turn for turn in turns if turn in self._live]
            self._live.difference_update(known)
            self._running = self._model.running
            self._news.notify_all()
        for turn in known:
            self._speed.ended(turn.generated)
            self._observer.ended(turn.outcome, prompt_tokens=len(turn.prompt), generated_tokens=turn.generated)
        wake(turn.outbox for turn in known)

    def _fail_all(self, error: WeirError) -> None:
        with self._news:
            turns = list(self._live)
        for turn in turns:
            turn.fail(error, "error")
        self._forget(turns)
