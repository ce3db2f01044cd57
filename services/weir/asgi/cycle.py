"""One request and its response on a connection: the two ends of an ASGI call."""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple, Protocol

from weir.asgi.types import App, Headers, Message, Scope
from weir.contracts.errors import RequestRejectedError, WeirError

_log = logging.getLogger(__name__)

STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}".encode() for s in HTTPStatus}
_BODILESS = frozenset({204, 304})
_COLON, _LINE_END = b": ", b"\r\n"
_READ = frozenset({b"content-length", b"connection"})
_END_OF_HEAD = (b"", b"")
_DISCONNECT: Message = {"type": "http.disconnect"}


class Response(NamedTuple):
    """A whole response; its length is added."""

    status: int
    headers: Headers
    body: bytes


class Line(Protocol):
    """What a cycle needs of its connection."""

    @property
    def is_leaving(self) -> bool:
        """The server shuts down: the connection is not kept."""
        ...

    @property
    def default_headers(self) -> Headers: ...

    def write(self, data: bytes) -> None: ...

    async def writable(self) -> None:
        """Return once the client has read enough, or is gone."""
        ...

    def body_taken(self) -> None: ...

    def answered(self, cycle: "RequestCycle") -> None:
        """The response is complete."""
        ...

    def refusal(self, error: WeirError, scope: Scope) -> Response: ...

    def abort(self) -> None: ...


class RequestCycle:
    """`receive` and `send` of one request."""

    def __init__(self, line: Line, scope: Scope, *, keeps_alive: bool, expects_continue: bool) -> None:
        self.scope = scope
        self.keeps_alive = keeps_alive
        self.is_received = False
        self.is_started = False
        self.is_answered = False
        self.buffered = 0
        self.task: asyncio.Task[None] | None = None  # in which the application runs
        self._on_gone: Callable[[], None] | None = None
        self._line = line
        self._expects_continue = expects_continue
        self._chunks: list[bytes] = []
        self._is_delivered = False
        self._is_gone = False
        self._failure: RequestRejectedError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._is_chunked = False
        self._has_body = True
        self._left: int | None = None  # bytes that content-length promises; none: not known beforehand

    # from the connection

    def feed(self, chunk: bytes) -> None:
        if not self.is_answered:
            self._chunks.append(chunk)
            self.buffered += len(chunk)
            self._wake()

    def received(self) -> None:
        self.is_received = True
        self._wake()

    def fail(self, error: RequestRejectedError) -> None:
        """The rest of the body will never come; `receive` raises `error`."""
        self.keeps_alive = False
        self._failure = error
        self._wake()

    def disconnected(self) -> None:
        self._is_gone = True
        self._wake()
        if self._on_gone is not None:
            self._on_gone()

    def tell_gone(self, call: Callable[[], None] | None) -> None:
        """Have `call` called when the client is gone, soon if it is already; none: do not any more."""
        self._on_gone = call
        if call is not None and self._is_gone:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        if self._on_gone is not None:
            self._on_gone()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ASGI

    async def run(self, app: App) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except RequestRejectedError as error:
            await self._refuse(error)
        except Exception:  # noqa: BLE001 - whatever it was, the client hears something
            _log.exception("application_failed")
            await self._refuse(WeirError("internal error"))
        except BaseException:
            self._line.abort()
            raise
        else:
            if not self.is_answered and not self._is_gone:
                _log.error("application_left_a_response_unfinished")
                await self._refuse(WeirError("internal error"))

    async def _refuse(self, error: WeirError) -> None:
        if self.is_started:
            self._line.abort()
            return
        self.keeps_alive = False
        status, headers, body = self._line.refusal(error, self.scope)
        length = (b"content-length", b"%d" % len(body))
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self.send({"type": "http.response.body", "body": body})

    async def receive(self) -> Message:
        while not (self._is_gone or self.is_answered):
            if self._chunks or (self.is_received and not self._is_delivered):
                return self._next_part()
            if self._failure is not None:
                raise self._failure
            if self._expects_continue:
                self._expects_continue = False
                self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return _DISCONNECT

    def _next_part(self) -> Message:
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self.buffered = 0
        self._is_delivered = self.is_received
        self._line.body_taken()
        return {"type": "http.request", "body": body, "more_body": not self.is_received}

    async def send(self, message: Message) -> None:
        await self._line.writable()
        if self._is_gone:
            return
        if not self.is_started:
            self._start(message)
        elif self.is_answered:
            raise RuntimeError("the response is complete already")
        else:
            self._continue(message)

    def _start(self, message: Message) -> None:
        """Make the head; it leaves with the first part of the body."""
        if message["type"] != "http.response.start":
            raise RuntimeError(f"a response begins with http.response.start, not {message['type']}")
        self.is_started = True
        self._expects_continue = False
        status = int(message["status"])
        lines = [STATUS_LINES[status]]
        for header in (*self._line.default_headers, *message.get("headers", ())):
            if header[0] not in _READ:
                lines.append(_COLON.join(header))
            elif header[0] == b"connection":
                self.keeps_alive = self.keeps_alive and header[1].lower() != b"close"
            else:
                self._left = int(header[1])
                lines.append(_COLON.join(header))
        self._has_body = self.scope["method"] != "HEAD" and status not in _BODILESS
        lines += self._framing()
        lines += _END_OF_HEAD
        head = _LINE_END.join(lines)
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
            raise RuntimeError("a response header holds a line break")
        self._head = head

    def _framing(self) -> list[bytes]:
        """Say how the body ends and whether the connection goes on."""
        lines = []
        is_new = self.scope["http_version"] == "1.1"
        if self._has_body and self._left is None:
            self._is_chunked = is_new
            self.keeps_alive = self.keeps_alive and is_new
        if not self.is_received or self._line.is_leaving:
            self.keeps_alive = False  # the rest of the body would stand before the next request
        if self._is_chunked:
            lines.append(b"transfer-encoding: chunked")
        if not self.keeps_alive:
            lines.append(b"connection: close")
        elif not is_new:
            lines.append(b"connection: keep-alive")
        return lines

    def _continue(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"a response goes on with http.response.body, not {message['type']}")
        is_last = not message.get("more_body", False)
        data = self._framed(message.get("body", b""), is_last=is_last)
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._line.write(data)
        if is_last:
            self._complete()

    def _framed(self, body: bytes, *, is_last: bool) -> bytes:
        if not self._has_body:
            return b""
        if self._is_chunked:
            part = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return part + b"0\r\n\r\n" if is_last else part
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (is_last and self._left):
                raise RuntimeError("the response's length is not its content-length")
        return body

    def _complete(self) -> None:
        self.is_answered = True
        self._chunks.clear()
        self.buffered = 0
        self._wake()
        self._line.answered(self)


def new_scope(transport: asyncio.BaseTransport) -> Scope:
    """Return what is the same for all requests of a connection."""
    server, client = (transport.get_extra_info(name) for name in ("sockname", "peername"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "server": server[:2] if isinstance(server, tuple) else None,
        "client": client[:2] if isinstance(client, tuple) else None,
        "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
        "root_path": "",
    }
