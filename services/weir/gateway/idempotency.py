"""`Idempotency-Key`: several attempts of one caller are one request. In this process's memory: one worker's."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from weir.asgi.types import Message, Send
from weir.gateway.refusals import AttemptRunningError, KeyReusedError
from weir.gateway.surfaces.base import Headers, Reply
from weir.telemetry.metrics import GatewayMetrics

_KEPT_S = 600.0
_MOST_BYTES = 16 << 20
_CALLERS_BYTES = _MOST_BYTES // 4
_ANSWER_BYTES = _CALLERS_BYTES // 4
_ENTRY_BYTES = 1_000
_REPLAYED = (b"idempotent-replayed", b"true")
_OF_ONE_ATTEMPT = frozenset({b"x-request-id", b"content-length"})  # headers that a replay has of its own


@dataclass(frozen=True, slots=True)
class AttemptName:
    """Whose attempt it is, the key that the caller gave it, the hash of what is asked, and under which guard policy."""

    caller: str
    key: str
    body: bytes
    policy: str = ""

    @property
    def of_request(self) -> tuple[str, str]:
        return self.caller, self.key


@dataclass(slots=True, eq=False)
class _Running:
    """An attempt that runs; a stream has no task."""

    body: bytes
    task: "asyncio.Task[Reply] | None" = None
    waiters: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    policy: str
    reply: Reply
    made: float

    @property
    def size_bytes(self) -> int:
        return _ENTRY_BYTES + len(self.reply.body)


class Attempts:
    """Joins attempts that run, and replays whole answers for ten minutes; what failed may be tried again.

    The memory is bounded, and so is each caller's part of it; the oldest answers are forgotten first.
    """

    def __init__(self, metrics: GatewayMetrics, clock: Callable[[], float] = monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._running: dict[tuple[str, str], _Running] = {}
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._bytes_of: dict[str, int] = {}

    async def whole(self, name: AttemptName, run: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the reply of the first attempt, which `run` makes; it goes on while any attempt waits for it.

        Raises:
            KeyReusedError: the key came with another body before.
            AttemptRunningError: a stream with this key runs.
        """
        if (known := self.known(name)) is not None:
            return known
        running = self._running.get(name.of_request)
        if running is None:
            running = self._running[name.of_request] = _Running(name.body)
            running.task = asyncio.ensure_future(self._run(name, running, run))
            return await self._joined(name, running, running.task)
        if running.task is None:
            raise self._refused(AttemptRunningError())
        self._metrics.attempts("waited").inc()
        return _marked(await self._joined(name, running, running.task))

    def known(self, name: AttemptName) -> Reply | None:
        """Return the kept answer, if there is one.

        Raises:
            KeyReusedError: the key came with another body before.
        """
        self._forget_old()
        kept = self._kept.get(name.of_request)
        if kept is not None and kept.policy != name.policy:  # another policy might not let it through
            self._drop(name.of_request)
            kept = None
        other = kept or self._running.get(name.of_request)
        if other is not None and other.body != name.body:
            raise self._refused(KeyReusedError())
        if kept is None:
            return None
        self._metrics.attempts("replayed").inc()
        return _marked(kept.reply)

    @contextmanager
    def streaming(self, name: AttemptName, send: Send) -> Generator[Send, None, None]:
        """Give what to send a stream with; it is kept if the block comes to its end with nothing but a good stream.

        Raises:
            AttemptRunningError: an attempt with this key runs.
        """
        if name.of_request in self._running:
            raise self._refused(AttemptRunningError())
        running = self._running[name.of_request] = _Running(name.body)
        recorder = Recorder(send)
        try:
            yield recorder
            self._keep(name, recorder.reply)
        finally:
            self._stopped(name, running)

    async def _run(self, name: AttemptName, running: _Running, run: Callable[[], Awaitable[Reply]]) -> Reply:
        try:
            reply = await run()
        finally:
            self._stopped(name, running)
        self._keep(name, reply)
        return reply

    async def _joined(self, name: AttemptName, running: _Running, task: "asyncio.Task[Reply]") -> Reply:
        """Wait for the task; the last one who gives up cancels it."""
        running.waiters += 1
        try:
            return await asyncio.shield(task)
        finally:
            running.waiters -= 1
            if not running.waiters and not task.done():
                self._stopped(name, running)  # at once: nobody may join it any more
                task.cancel()

    def _stopped(self, name: AttemptName, running: _Running) -> None:
        if self._running.get(name.of_request) is running:
            del self._running[name.of_request]

    def _keep(self, name: AttemptName, reply: Reply | None) -> None:
        if reply is None or reply.status != 200 or len(reply.body) > _ANSWER_BYTES:
            return
        kept = self._kept[name.of_request] = _Kept(name.body, name.policy, reply, self._clock())
        self._bytes_of[name.caller] = self._bytes_of.get(name.caller, 0) + kept.size_bytes
        while self._bytes_of[name.caller] > _CALLERS_BYTES:
            self._drop(next(other for other in self._kept if other[0] == name.caller))
        while sum(self._bytes_of.values()) > _MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _forget_old(self) -> None:
        while self._kept:
            name, oldest = next(iter(self._kept.items()))
            if self._clock() - oldest.made <= _KEPT_S:
                return
            self._drop(name)

    def _drop(self, name: tuple[str, str]) -> None:
        self._bytes_of[name[0]] -= self._kept.pop(name).size_bytes
        if not self._bytes_of[name[0]]:
            del self._bytes_of[name[0]]

    def _refused(self, error: AttemptRunningError | KeyReusedError) -> AttemptRunningError | KeyReusedError:
        self._metrics.attempts("refused").inc()
        return error


class Recorder:
    """Sends on what it is given, and remembers it while it is not too much."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._headers: Headers = []
        self._frames: list[bytes] | None = []
        self._size_bytes = 0

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self._headers = [header for header in message["headers"] if header[0] not in _OF_ONE_ATTEMPT]
        elif self._frames is not None:
            self._frames.append(message["body"])
            self._size_bytes += len(message["body"])
            if self._size_bytes > _ANSWER_BYTES:
                self._frames = None

    def spoil(self) -> None:
        """Forget it all: the stream ends with a failure."""
        self._frames = None

    @property
    def reply(self) -> Reply | None:
        """The whole stream as one body; none when nothing was sent or it was too long."""
        return Reply(200, self._headers, b"".join(self._frames)) if self._frames else None


def _marked(reply: Reply) -> Reply:
    return reply._replace(headers=[*reply.headers, _REPLAYED]) if reply.status == 200 else reply
