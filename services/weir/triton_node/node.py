"""One release under Triton's python backend: requests in, responses out, and an engine between them.

Triton calls `execute` on its own thread; everything else happens on one event loop in a thread of this module's.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any, Final

from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, TokenChunk
from weir.engine.added import AddedWatch
from weir.engine.engine import Engine
from weir.oip.wire import BEAT_S, NodeCall
from weir.triton_node.metrics import TritonMetrics
from weir.triton_node.wire import FLAGS, TEXTS, Outputs, OutputWriter, is_heartbeat, read_call

_log = logging.getLogger("weir.triton")
_POLL_S: Final = 0.02  # how long a cancelled request may go unseen while it waits for its turn
_GAUGES_S: Final = 0.25
_STALL_S: Final = 30.0
_RELOAD_PAUSE_S: Final = 1.0
_DRAIN_S: Final = 25.0
_ADAPTERS_S: Final = 0.5
_BEATS: Final = 20  # in one answer

EngineLoader = Callable[[], Engine]


class TritonNode:
    """Serves what `load` opens, the release at `root`.

    `pb` is Triton's `triton_python_backend_utils`, which exists in its process only. An engine that died is opened
    again; until then requests are refused, which is what makes a gateway go elsewhere.
    """

    def __init__(self, pb: Any, model: str, root: Path, load: EngineLoader, metrics: TritonMetrics) -> None:
        self._pb = pb
        self._model = model
        self._root = root
        self._load = load
        self._metrics = metrics
        self._engine = load()
        self._engine.start()
        self._adapters = AddedWatch(self._engine, root)
        self._active: dict[Any, asyncio.Task[None]] = {}  # response senders
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

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _watch(self) -> None:
        watches = (self._watch_cancels(), self._watch_engine(), self._watch_adapters())
        self._tasks = [self._loop.create_task(watch) for watch in watches]

    async def _ended(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._engine.stop(drain_s=_DRAIN_S)
        await asyncio.gather(*self._active.values(), return_exceptions=True)

    def _begin(self, read: NodeCall | WeirError | None, sender: Any) -> None:
        if read is None:
            self._active[sender] = self._loop.create_task(self._beat(sender))
        elif isinstance(read, WeirError):
            self._refuse(sender, read)
        else:
            self._active[sender] = self._loop.create_task(self._answer(read, sender))

    async def _answer(self, call: NodeCall, sender: Any) -> None:
        try:
            if call.stream:
                await self._stream(call, sender)
            else:
                await self._whole(call, sender)
        except asyncio.CancelledError:
            self._metrics.cancelled()
            self._fail(sender, self._pb.TritonError("cancelled: the caller left", self._pb.TritonError.CANCELLED))
        except WeirError as error:
            self._refuse(sender, error)
        except Exception:  # noqa: BLE001  the cause goes to the log, not to the caller
            _log.exception("request_failed")
            self._fail(sender, self._pb.TritonError("internal: the node failed"))

    async def _beat(self, sender: Any) -> None:
        """Show for a while that this process lives; Triton does not say when it has died.

        Not for ever: Triton unloads a model only when it has no request any more.
        """
        try:
            for _ in range(_BEATS):
                await asyncio.sleep(BEAT_S)
                self._send(sender, [])
            self._end(sender, [])
        except asyncio.CancelledError:
            self._fail(sender, self._pb.TritonError("cancelled: the caller left", self._pb.TritonError.CANCELLED))

    async def _stream(self, call: NodeCall, sender: Any) -> None:
        writer = OutputWriter(call)
        timer = self._metrics.timer()
        async with aclosing(self._engine.generate(call.request)) as events:
            async for event in events:
                if sender.is_cancelled():
                    raise asyncio.CancelledError
                if isinstance(event, Finished):
                    timer.finished(event)
                    self._end(sender, writer.end(event))
                else:
                    timer.brought()
                    self._send(sender, writer.chunk(event))

    async def _whole(self, call: NodeCall, sender: Any) -> None:
        chunks: list[TokenChunk] = []
        timer = self._metrics.timer()
        async with aclosing(self._engine.generate(call.request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    timer.finished(event)
                    self._end(sender, OutputWriter(call).whole(chunks, event))
                else:
                    timer.brought()
                    chunks.append(event)

    def _send(self, sender: Any, outputs: Outputs) -> None:
        sender.send(self._response(outputs))

    def _end(self, sender: Any, outputs: Outputs) -> None:
        self._send_last(sender, self._response(outputs))

    def _refuse(self, sender: Any, error: WeirError) -> None:
        """Begin the words with the error's code: Triton has no place of its own for it."""
        self._metrics.refused()
        self._fail(sender, self._pb.TritonError(f"{error.code}: {error}"))

    def _fail(self, sender: Any, error: Any) -> None:
        self._send_last(sender, self._pb.InferenceResponse(error=error))

    def _send_last(self, sender: Any, response: Any) -> None:
        self._active.pop(
            sender, None
        )  # first: Triton 2.51 crashes when asked whether an answer that ended is cancelled
        sender.send(response, flags=self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _response(self, outputs: Outputs) -> Any:
        return self._pb.InferenceResponse([self._pb.Tensor(name, value) for name, value in outputs])

    async def _watch_cancels(self) -> None:
        """A request that waits gets no events, so nothing else would notice that its caller left."""
        while True:
            await asyncio.sleep(_POLL_S)
            self._cancel_what_nobody_wants()

    def _cancel_what_nobody_wants(self) -> None:
        """A method of its own, so that no variable of a sleeping loop keeps a sender, and Triton its request."""
        for sender, task in list(self._active.items()):
            if sender.is_cancelled():
                task.cancel()

    async def _watch_engine(self) -> None:
        while True:
            await asyncio.sleep(_GAUGES_S)
            stats = self._engine.stats
            self._metrics.show(stats)
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
            self._metrics.reloaded()
            return
