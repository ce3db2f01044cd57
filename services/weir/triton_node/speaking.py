"""Everything that is said to Triton about requests, on one thread of its own.

Each word to Triton's process waits for its answer, 0.2 to 0.5 ms. Here that holds up neither the event loop nor the
engine; what a request has to say meanwhile leaves together, in one response.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from weir.contracts.events import Finished, TokenChunk
from weir.triton_node.wire import Outputs, OutputWriter

_log = logging.getLogger("weir.triton")
_POLL_S: Final = 0.03  # between two looks whether callers are still there


@dataclass(slots=True, eq=False)
class Dialogue:
    """One request. `left` is called, on the speaker's thread, when its caller has gone; `writer` None: a beat's."""

    sender: Any
    writer: OutputWriter | None
    whole: bool
    left: Callable[[], object]
    chunks: list[TokenChunk] = field(default_factory=list)
    end: Finished | Any = None  # or a TritonError
    is_beat: bool = False
    is_waiting: bool = False  # in the queue
    has_left: bool = False


class Speaker:
    """`pb` is Triton's `triton_python_backend_utils`. Its methods may be called from any thread."""

    def __init__(self, pb: Any) -> None:
        self._pb = pb
        self._news = threading.Condition()
        self._queue: deque[Dialogue] = deque()
        self._asides: deque[Callable[[], None]] = deque()
        self._open: set[Dialogue] = set()  # the thread's own
        self._arrived: list[Dialogue] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="weir-triton-speaker", daemon=True)
        self._thread.start()

    def begin(self, dialogue: Dialogue) -> None:
        with self._news:
            self._arrived.append(dialogue)

    def say(self, dialogue: Dialogue, chunk: TokenChunk) -> None:
        with self._news:
            dialogue.chunks.append(chunk)
            if not dialogue.whole:
                self._wake(dialogue)

    def beat(self, dialogue: Dialogue) -> None:
        with self._news:
            if dialogue.end is None:
                dialogue.is_beat = True
                self._wake(dialogue)

    def end(self, dialogue: Dialogue, how: Any) -> None:
        """Say the last word, `Finished` or one of Triton's errors; whatever comes behind it is not said."""
        with self._news:
            if dialogue.end is None:
                dialogue.end = how
                self._wake(dialogue)

    def aside(self, action: Callable[[], None]) -> None:
        """Do something else that waits for Triton, when no request has anything to say."""
        with self._news:
            self._asides.append(action)
            self._news.notify()

    def close(self) -> None:
        """Say what is left, then end the thread."""
        with self._news:
            self._is_over = True
            self._news.notify()
        self._thread.join()

    def _wake(self, dialogue: Dialogue) -> None:
        if not dialogue.is_waiting:
            dialogue.is_waiting = True
            self._queue.append(dialogue)
            self._news.notify()

    def _run(self) -> None:
        polled = monotonic()
        while True:
            task = self._next()
            if task is None and self._is_over and not self._queue and not self._asides:
                return
            if task is not None:
                try:
                    task()
                except Exception:  # noqa: BLE001  one request's trouble is not the others'
                    _log.exception("not_said")
            if monotonic() - polled >= _POLL_S:
                self._poll()
                polled = monotonic()

    def _next(self) -> Callable[[], None] | None:
        """Return what to do next; None: nothing for a while."""
        with self._news:
            if not self._queue and not self._asides and not self._is_over:
                self._news.wait(_POLL_S)
            self._open.update(self._arrived)
            self._arrived.clear()
            if self._queue:
                return self._speech(self._queue.popleft())
            return self._asides.popleft() if self._asides else None

    def _speech(self, dialogue: Dialogue) -> Callable[[], None]:
        """Take what a request has to say; under the lock."""
        dialogue.is_waiting = False
        chunks, dialogue.chunks = dialogue.chunks, []
        end, is_beat, dialogue.is_beat = dialogue.end, dialogue.is_beat, False
        return lambda: self._speak(dialogue, chunks, end, is_beat=is_beat)

    def _speak(self, dialogue: Dialogue, chunks: list[TokenChunk], end: Any, *, is_beat: bool) -> None:
        if end is None:
            if chunks or is_beat:
                dialogue.sender.send(self._response(self._outputs(dialogue, chunks, None)))
            return
        # First: Triton 2.51 crashes when asked whether an answer that ended is cancelled.
        self._open.discard(dialogue)
        if end.__class__ is Finished:
            response = self._response(self._outputs(dialogue, chunks, end))
        else:
            if chunks:
                dialogue.sender.send(self._response(self._outputs(dialogue, chunks, None)))
            response = self._pb.InferenceResponse(error=end)
        dialogue.sender.send(response, flags=self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _outputs(self, dialogue: Dialogue, chunks: list[TokenChunk], end: Finished | None) -> Outputs:
        if dialogue.writer is None:
            return []
        return dialogue.writer.together(chunks, end, whole=dialogue.whole)

    def _response(self, outputs: Outputs) -> Any:
        return self._pb.InferenceResponse([self._pb.Tensor(name, value) for name, value in outputs])

    def _poll(self) -> None:
        """A request that waits gets no events, so nothing else would notice that its caller left."""
        for dialogue in list(self._open):
            if not dialogue.has_left and dialogue.sender.is_cancelled():
                dialogue.has_left = True
                with suppress(RuntimeError):  # the loop was closed
                    dialogue.left()
