"""One release under Triton's python backend: requests in, responses out, and an engine between them.

Triton calls `execute` on its own thread; everything else happens on one event loop in a thread of this module's.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, FinishReason, GenerationEvent, Usage
from weir.engine.added import AddedWatch
from weir.engine.serving import ServingEngine
from weir.oip.wire import BEAT_S, NodeCall
from weir.telemetry.node_requests import NodeRequests
from weir.telemetry.tracing import Tracing
from weir.triton_node.metrics import TritonMetrics
from weir.triton_node.speaking import Dialogue, Speaker
from weir.triton_node.wire import FLAGS, TEXTS, OutputWriter, is_heartbeat, read_call

_log = logging.getLogger("weir.triton")
_GAUGES_S: Final = 0.25
_STALL_S: Final = 30.0
_RELOAD_PAUSE_S: Final = 1.0
_DRAIN_S: Final = 25.0
_ADAPTERS_S: Final = 0.5
_BEATS: Final = 20  # in one answer
_BEATS_OVER: Final = Finished(FinishReason.LENGTH, Usage(0, 0))

EngineLoader = Callable[[], ServingEngine]


class TritonNode:
    """Serves what `load` opens, the release at `root`.

    `pb` is Triton's `triton_python_backend_utils`, which exists in its process only. An engine that died is opened
    again; until then requests are refused, which is what makes a gateway go elsewhere.
    """

    def __init__(
        self,
        pb: Any,
        model: str,
        root: Path,
        load: EngineLoader,
        metrics: TritonMetrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._pb = pb
        self._model = model
        self._root = root
        self._load = load
        self._metrics = metrics
        self._tracing = tracing
        self._requests = NodeRequests(tracing)
        self._engine = load()
        self._engine.start()
        self._adapters = AddedWatch(self._engine, root)
        self._active: set[asyncio.Task[None]] = set()
        self._speaker = Speaker(pb)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_watched = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="weir-triton", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._adapters.look(), self._loop).result()

    def execute(self, requests: Sequence[Any]) -> None:
        """Take requests in and return at once: the model is decoupled. What is wanted of a request is read here."""
        if not self._is_watched:  # not before: Triton 2.51 may crash over a metric that is set while it initialises
            self._is_watched = True
            self._loop.call_soon_threadsafe(self._watch)
        for request in requests:
            read = self._read(request)
            self._loop.call_soon_threadsafe(self._begin, read, request.get_response_sender())

    def _read(self, request: Any) -> NodeCall | WeirError | None:
        """Return what is asked, or why it cannot be; None: beats."""
        if is_heartbeat(request.parameters()):
            return None
        found = {name: self._pb.get_input_tensor_by_name(request, name) for name in (*TEXTS, *FLAGS)}
        tensors = {name: tensor.as_numpy() for name, tensor in found.items() if tensor is not None}
        try:
            return read_call(tensors, request.parameters(), model=self._model, request_id=request.request_id())
        except WeirError as error:
            return error.with_traceback(None)  # its frames hold the request

    def finalize(self) -> None:
        """Let what runs end; Triton calls this once it has no request of its own for the model any more."""
        asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._tracing is not None:
            self._tracing.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _watch(self) -> None:
        watches = (self._watch_engine(), self._watch_adapters())
        self._tasks = [self._loop.create_task(watch) for watch in watches]

    async def _ended(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._engine.stop(drain_s=_DRAIN_S)
        await asyncio.gather(*self._active, return_exceptions=True)
        await asyncio.to_thread(self._speaker.close)

    def _begin(self, read: NodeCall | WeirError | None, sender: Any) -> None:
        """None: the caller wants beats."""
        call = read if isinstance(read, NodeCall) else None
        writer = None if call is None else OutputWriter(call)
        dialogue = Dialogue(sender, writer, whole=call is not None and not call.stream, left=lambda: None)
        if isinstance(read, WeirError):
            self._refuse(dialogue, read)
            return
        task = self._loop.create_task(self._beat(dialogue) if call is None else self._answer(call, dialogue))
        dialogue.left = lambda: self._loop.call_soon_threadsafe(task.cancel)
        self._active.add(task)
        task.add_done_callback(partial(self._done, dialogue))
        self._speaker.begin(dialogue)

    def _done(self, dialogue: Dialogue, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        if dialogue.end is None:  # it was cancelled before it had begun
            self._speaker.end(dialogue, self._cancelled())

    async def _answer(self, call: NodeCall, dialogue: Dialogue) -> None:
        try:
            await self._generate(call, dialogue)
        except asyncio.CancelledError:
            self._speaker.end(dialogue, self._cancelled())
            self._speaker.aside(self._metrics.cancelled)
        except WeirError as error:
            self._refuse(dialogue, error)
        except Exception:  # noqa: BLE001  the cause goes to the log, not to the caller
            _log.exception("request_failed")
            self._speaker.end(dialogue, self._pb.TritonError("internal: the node failed"))

    async def _beat(self, dialogue: Dialogue) -> None:
        """Show for a while that this process lives; Triton does not say when it has died.

        Not for ever: Triton unloads a model only when it has no request any more.
        """
        try:
            for _ in range(_BEATS):
                await asyncio.sleep(BEAT_S)
                self._speaker.beat(dialogue)
            self._speaker.end(dialogue, _BEATS_OVER)
        except asyncio.CancelledError:
            self._speaker.end(dialogue, self._cancelled())

    def _events(self, call: NodeCall) -> AsyncGenerator[GenerationEvent, None]:
        info = self._engine.info
        return self._requests.watched(call.request, self._engine.generate(call.request), info.model, info.version)

    async def _generate(self, call: NodeCall, dialogue: Dialogue) -> None:
        timer = self._metrics.timer()
        async with aclosing(self._events(call)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    self._speaker.end(dialogue, event)
                    self._speaker.aside(partial(timer.finished, event))
                else:
                    timer.brought()
                    self._speaker.say(dialogue, event)

    def _cancelled(self) -> Any:
        return self._pb.TritonError("cancelled: the caller left", self._pb.TritonError.CANCELLED)

    def _refuse(self, dialogue: Dialogue, error: WeirError) -> None:
        """Begin the words with the error's code: Triton has no place of its own for it."""
        self._speaker.end(dialogue, self._pb.TritonError(f"{error.code}: {error}"))
        self._speaker.aside(self._metrics.refused)

    async def _watch_engine(self) -> None:
        while True:
            await asyncio.sleep(_GAUGES_S)
            stats = self._engine.stats
            self._speaker.aside(partial(self._metrics.show, stats))
            if stats.running + stats.queued > 0 and monotonic() - stats.last_progress > _STALL_S:
                _log.critical("engine_stalled")
                os._exit(1)  # a thread that hangs in a kernel cannot be ended; a dead stub is noticed by every canary
            if self._engine.failed:  # it has told its callers
                await self._reload()

    async def _watch_adapters(self) -> None:
        """Triton has no call for adapters: what lies beside the release is what is served."""
        while True:
            await asyncio.sleep(_ADAPTERS_S)
            try:
                await self._adapters.look()
            except Exception:  # noqa: BLE001  a folder that cannot be read, an engine that just died
                _log.exception("adapters_not_read")

    async def _reload(self) -> None:
        """Open the release again; until then the dead engine refuses."""
        while True:
            try:
                engine = await asyncio.to_thread(self._load)
            except Exception:  # noqa: BLE001  whatever it is, there is nothing but trying again
                _log.exception("reload_failed")
                await asyncio.sleep(_RELOAD_PAUSE_S)
                continue
            engine.start()
            adapters = AddedWatch(engine, self._root)
            await adapters.look()
            self._engine, self._adapters = engine, adapters
            self._speaker.aside(self._metrics.reloaded)
            return
