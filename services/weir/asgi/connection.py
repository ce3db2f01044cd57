"""One HTTP/1.1 connection, with a bound on everything a client may send, hold back or leave unread.

httptools parses; uvicorn's server accepts, counts connections and shuts down. uvicorn's own protocol has none of these
bounds: it takes 100 MB of headers and waits for ever for the rest of a request.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any, cast
from urllib.parse import unquote

import httptools

from weir.asgi.body import BodyTooSlowError
from weir.asgi.cycle import RequestCycle, Response, new_scope
from weir.asgi.hosts import Hosts, MisdirectedError
from weir.asgi.limits import ConnectionLimits, HeadTooLargeError, HeadTooSlowError, MalformedRequestError, Wait
from weir.asgi.types import App, Headers, Scope
from weir.contracts.errors import RequestRejectedError, WeirError

Refusal = Callable[[WeirError, Scope], Response]

_FRAMING = (b"content-length", b"transfer-encoding")
_MOST_BUFFERED = 64 << 10  # unread bytes of bodies, beyond which nothing more is read from the socket
_LINGER_BYTES = 256 << 10  # what is still read of a refused client, so that the answer reaches it before a reset does


@dataclass(slots=True)
class ConnectionFactory:
    """What uvicorn calls for every new connection (its `http` option).

    `refusal` puts an error into the form of the API that was meant; `on_refused` is told the codes of requests that no
    application saw; without `hosts` any name will do. Set `is_leaving` at the end: responses then end connections.
    """

    refusal: Refusal
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    on_refused: Callable[[str], None] = lambda _: None
    hosts: Hosts | None = None
    is_leaving: bool = False

    def __call__(self, config: Any, server_state: Any, app_state: dict[str, Any], **_: Any) -> "HttpConnection":
        return HttpConnection(self, config.loaded_app, server_state, app_state)


class HttpConnection(asyncio.Protocol):
    """The transport's and the parser's callbacks. `_reading` is parsed, `_running` is answered, `_queue` comes next.

    A client that ends its sending side cannot be told from one that hung up: the connection closes (asyncio's default).
    """

    def __init__(self, factory: ConnectionFactory, app: App, server_state: Any, app_state: dict[str, Any]) -> None:
        self._factory, self._limits, self._app = factory, factory.limits, app
        self._server_state, self._app_state = server_state, app_state
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._wait: Wait | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = inf
        self._write_timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._running: RequestCycle | None = None
        self._queue: deque[RequestCycle] = deque()
        self._reading: RequestCycle | None = None
        self._refused: RequestRejectedError | None = None
        self._is_deaf = False  # what still comes is no request
        self._is_paused = self._in_head = False
        self._is_new = True
        self._is_staying = False  # the head was read already, by a parser that took it for the last of HTTP/1.1
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._unparsed = 0  # bytes of a head or of trailers that the parser holds back

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class has no base
        self._server_state.connections.add(self)
        self._base = new_scope(transport)
        self._await(Wait.FIRST_BYTE)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server_state.connections.discard(self)
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._write_timer = None
        self._is_deaf = True
        for cycle in (self._running, *self._queue):
            if cycle is not None:
                cycle.disconnected()
        self._queue.clear()
        self.resume_writing()
        self._parser = None

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._discard(len(data))
            return
        is_between = self._reading is None and not self._in_head
        self._unparsed += len(data)
        self._parse(data)
        if is_between and self._in_head:
            self._unparsed = len(data)
        if self._unparsed > self._limits.head_bytes and (self._in_head or self._reading is not None):
            self._refuse(HeadTooLargeError(self._limits))
        self._settle()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(MalformedRequestError(str(error)))

    def _stay(self, rest: bytes) -> None:
        """Pass over the offer of another protocol, as the standard allows: some clients make it with every request.

        The parser has ended the message at its head; a new one reads the body, behind a head that offers nothing.
        """
        self._parser = httptools.HttpRequestParser(self)
        framing = [b"%b: %b\r\n" % field for field in self._headers if field[0] in _FRAMING]
        self._is_staying = True
        self._parse(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
        self._parse(rest)

    def pause_writing(self) -> None:
        self._writable = self._writable or self._loop.create_future()
        self._write_timer = self._loop.call_later(self._limits.write_timeout_s, self._unread)

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    @property
    def is_expected(self) -> bool:
        """Whether a request is probably on its way: none came yet, or a part of one."""
        return self._is_new or self._in_head or self._reading is not None

    def shutdown(self) -> None:
        """From uvicorn, when the server closes: an idle connection ends now, another one after its response."""
        if self._running is None:
            self._transport.close()
        else:
            self._running.keeps_alive = False

    # from the parser

    def on_message_begin(self) -> None:
        if self._is_staying:
            return
        self._in_head, self._is_new = True, False
        self._unparsed = 0
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        if not self._is_staying:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # later ones are trailers, which nobody asked for
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unparsed = 0
        if self._is_deaf or self._is_staying:
            self._is_staying = False
            return
        limits, headers = self._limits, self._headers
        size = len(self._url) + sum([len(name) + len(value) + 4 for name, value in headers])
        if size > limits.head_bytes or len(headers) > limits.head_fields:
            self._refuse(HeadTooLargeError(limits))
            return
        try:
            url = httptools.parse_url(self._url)
            path = url.path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, AttributeError, UnicodeDecodeError):
            self._refuse(MalformedRequestError("the request target is no path"))
            return
        self._begin(path, url)

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if self._reading is not None:
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if self._reading is not None and not self._parser.should_upgrade():
            self._reading.received()
            self._reading = None

    # requests

    def _begin(self, path: str, url: Any) -> None:
        version, expects, hosts = self._parser.get_http_version(), False, self._factory.hosts
        for name, value in self._headers:
            if name == b"host" and hosts is not None and not hosts.has(value):
                self._refuse(MisdirectedError(hosts.cure))
                return
            if name == b"expect":
                expects = version == "1.1" and value.lower() == b"100-continue"
        scope: Scope = {
            **self._base,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
        cycle = RequestCycle(self, scope, keeps_alive=self._parser.should_keep_alive(), expects_continue=expects)
        self._reading = cycle
        if self._running is None:
            self._start(cycle)
        else:
            self._queue.append(cycle)
            if len(self._queue) >= self._limits.pipelined:
                self._last_request()

    def _last_request(self) -> None:
        """Answer what was read, then close: a client may send the rest again, on a new connection."""
        self._is_deaf = True
        cycle = self._queue[-1] if self._queue else self._running
        if cycle is not None:
            cycle.keeps_alive = False

    def _start(self, cycle: RequestCycle, app: App | None = None) -> None:
        self._running = cycle
        task = cycle.task = self._loop.create_task(cycle.run(app or self._app))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _refuse(self, error: RequestRejectedError) -> None:
        """End the connection with `error`: in place of the rest of a body, or as a response of its own, in its turn."""
        if self._is_deaf:
            return
        self._is_deaf, self._in_head = True, False
        self._factory.on_refused(error.code)
        if self._reading is not None:
            self._reading.fail(error)
            self._reading = None
        elif self._running is None:
            self._send_refusal(error)
        else:
            self._refused = error

    def _send_refusal(self, error: RequestRejectedError) -> None:
        """Let a cycle without an application answer."""
        path, headers = self._url.decode("latin-1"), self._headers  # as much as was read of them
        scope: Scope = {**self._base, "method": "GET", "path": path, "http_version": "1.1", "headers": headers}
        cycle = RequestCycle(self, scope, keeps_alive=False, expects_continue=False)

        async def refuse(*_: Any) -> None:
            raise error

        self._start(cycle, refuse)

    # waiting

    def _settle(self) -> None:
        """After anything has changed: read on or not, and wait for the right thing."""
        unread = self._running.buffered if self._running is not None else 0
        if self._queue:
            unread += sum(cycle.buffered for cycle in self._queue)
        self._pause(is_paused=unread > _MOST_BUFFERED or (self._is_deaf and self._unparsed > _LINGER_BYTES))
        if self._wait is Wait.CLOSE:
            return
        if self._in_head:
            self._await(Wait.HEAD)
        elif self._reading is not None:
            self._await(Wait.BODY)
        elif self._running is not None:
            self._await(Wait.APPLICATION)
        elif not self._is_new:
            self._await(Wait.NEXT_REQUEST)

    def _pause(self, *, is_paused: bool) -> None:
        if is_paused != self._is_paused and not self._transport.is_closing():
            self._is_paused = is_paused
            (self._transport.pause_reading if is_paused else self._transport.resume_reading)()

    def _await(self, wait: Wait) -> None:
        """Note until when; a timer that fires too early looks again, which is cheaper than to move it every time."""
        if wait is self._wait:
            return
        self._wait = wait
        patience_s = self._limits.patience_s(wait)
        self._deadline = inf if patience_s is None else self._loop.time() + patience_s
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and patience_s is not None:
            self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() >= self._deadline:
            self._expired()
        elif self._deadline < inf:
            self._timer = self._loop.call_at(self._deadline, self._look)

    def _expired(self) -> None:
        match self._wait:
            case Wait.FIRST_BYTE | Wait.HEAD:
                self._refuse(HeadTooSlowError(self._limits.head_timeout_s))
                self._settle()
            case Wait.BODY if self._is_paused:  # it is we who do not read
                self._wait = None
                self._await(Wait.BODY)
            case Wait.BODY:
                self._refuse(BodyTooSlowError(self._limits.body_timeout_s))
                self._settle()
            case _:
                self._end()

    def _unread(self) -> None:
        """The client has not read for too long: whatever is written for it is dropped."""
        self._write_timer = None
        self._factory.on_refused("response_unread")
        self._transport.abort()

    def _discard(self, count: int) -> None:
        """Read a little after the last request: to notice a hang-up, and so that no answer is lost in a reset."""
        self._unparsed += count
        if self._unparsed <= _LINGER_BYTES:
            return
        if self._wait is Wait.CLOSE:
            self._end()
        else:
            self._settle()

    def _end(self) -> None:
        """Close, and not wait for ever until a client has read what is left for it."""
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(self._limits.write_timeout_s, self._transport.abort)

    # for cycles

    @property
    def is_leaving(self) -> bool:
        return self._factory.is_leaving

    @property
    def default_headers(self) -> Headers:
        return cast("Headers", self._server_state.default_headers)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def writable(self) -> None:
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def body_taken(self) -> None:
        if self._is_paused:
            self._settle()

    def refusal(self, error: WeirError, scope: Scope) -> Response:
        return self._factory.refusal(error, scope)

    def abort(self) -> None:
        self._transport.abort()

    def answered(self, cycle: RequestCycle) -> None:
        self._server_state.total_requests += 1
        self._running = None
        if self._transport.is_closing():
            return
        if not cycle.keeps_alive:
            self._close(is_heard=cycle.is_received and not self._is_deaf)
        elif self._queue:
            self._start(self._queue.popleft())
        elif self._refused is not None:
            self._send_refusal(self._refused)
        self._settle()

    def _close(self, *, is_heard: bool) -> None:
        """Close; when the client may still be sending, only after it had a chance to read."""
        self._is_deaf = True
        self._queue.clear()
        if is_heard or not self._transport.can_write_eof():
            self._end()
            return
        self._unparsed = 0
        self._transport.write_eof()
        self._await(Wait.CLOSE)
