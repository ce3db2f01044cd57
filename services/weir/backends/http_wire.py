"""HTTP/1.1 as a node speaks it: one connection, and the pool that keeps connections between requests.

Written for the gateway's hot path: no task and no timer per request or read. asyncio's own protocol, httptools'
parser; what arrives together is read together.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import httptools

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_WAITING_BYTES: Final = 256 * 1024  # unread; beyond it the node is made to wait
_IDLE_S: Final = 4.0  # below what servers allow idle connections (uvicorn's default is 5 s), so that none is used dying
_END_S: Final = 1.0  # for the last bytes of an answer whose reader has left


class WireError(Exception):
    """What came is not HTTP, or is beyond the limits."""


class GoneError(Exception):
    """The connection could not be made, or ended before the answer did."""


class NoConnectionError(GoneError):
    """The connection could not be made."""


class SilenceError(Exception):
    """Nothing came in time."""


class Listener(Protocol):
    """Told when a connection has read its answer to the end and may be used again."""

    def is_free(self, connection: "Connection") -> None: ...

    def is_closed(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """One exchange at a time: `send`, `head`, `read` until None, `release`; or `close` at any moment."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self.is_kept = False  # between two exchanges, or since
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._due = 0.0  # when the current wait is over, on the loop's clock; 0: nothing is awaited
        self._waiter: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._head_bytes = 0
        self._has_head = self._is_whole = self._is_released = self._is_paused = self._stays = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._failure: Exception | None = None

    # What a user of the connection calls.

    def send(self, raw: bytes) -> None:
        """Begin an exchange."""
        self._begin()
        self._transport.write(raw)

    async def head(self, timeout_s: float) -> None:
        """Wait until `status` and `headers` are known.

        Raises:
            GoneError: the node went away.
            SilenceError: it sent nothing for `timeout_s` seconds.
            WireError: it does not speak HTTP.
        """
        while not self._has_head:
            await self._wait(timeout_s)

    async def read(self, timeout_s: float) -> bytes | None:
        """Return all of the body that has arrived since the last read; wait if that is nothing. None: its end.

        Raises:
            GoneError, SilenceError, WireError: as `head`.
        """
        while not self._body:
            if self._is_whole:
                return None
            await self._wait(timeout_s)
        parts, self._body = self._body, []
        self._body_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self) -> None:
        """Say that nobody reads on: the connection is kept once the answer's last bytes are there."""
        self._is_released = True
        self._body.clear()
        self._body_bytes = 0
        if self._failure is not None or not self._is_open:
            self.close()
        elif self._is_whole:
            self._settle()
        else:
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
            self._expect(_END_S)

    def close(self) -> None:
        """Drop the connection at once; in the middle of an answer that is how a node hears of it."""
        if self._is_open:
            self._is_open = False
            self._transport.abort()
            self._listener.is_closed(self)
        self._due = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._is_whole:
            self._fail(WireError("it speaks unasked"))
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(WireError("this is not HTTP"))
            return
        if not self._has_head and self._head_bytes > _MAX_HEAD_BYTES:
            self._fail(WireError(f"the head is larger than {_MAX_HEAD_BYTES} bytes"))
            return
        if self._is_released:
            self._body.clear()
            if self._is_whole:
                self._settle()
            return
        if self._body_bytes > _MAX_WAITING_BYTES and not self._is_paused and not self._is_whole:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._has_head and not self._is_whole and self._ends_with_connection:
            self._is_whole = True
        self._fail(GoneError("the connection ended"))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # a trailer says nothing that is of use
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200
        self._stays = self._parser.should_keep_alive()  # asked at the end, the parser has forgotten

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        self._is_whole = self._has_head  # a 1xx goes before the answer

    # The rest.

    @property
    def _ends_with_connection(self) -> bool:
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers

    async def _wait(self, timeout_s: float) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        self._expect(timeout_s)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._due = 0.0

    def _expect(self, timeout_s: float) -> None:
        """Make the timer look at its watch by then; an earlier alarm stands, as it looks again."""
        self._due = self._loop.time() + timeout_s
        if self._timer is not None:
            if self._rings_at <= self._due:
                return
            self._timer.cancel()
        self._set_timer(timeout_s)

    def _set_timer(self, seconds: float) -> None:
        self._rings_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self._due:
            return
        left_s = self._due - self._loop.time()
        if left_s > 0:
            self._set_timer(left_s)
        elif self._is_released:
            self.close()
        else:
            self._fail(SilenceError("nothing came in time"))

    def _fail(self, failure: Exception) -> None:
        if self._failure is None:
            self._failure = failure
        self.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _settle(self) -> None:
        if not self._stays:
            self.close()
            return
        self.is_kept = True
        self._listener.is_free(self)
        self._expect(_IDLE_S)


class Pool:
    """Connections to one address; as many as there are requests at once."""

    def __init__(self, url: str, *, connect_timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._authority = parts.netloc.rpartition("@")[2].encode()
        self._path = parts.path.rstrip("/").encode()
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []
        self._is_closed = False

    async def begun(self, raw: bytes, timeout_s: float) -> Connection:
        """Send a request, and return its connection once the head of the answer is there.

        A kept connection may have ended on the other side before it heard of this: then a new one is made.

        Raises:
            NoConnectionError: the node cannot be reached.
            GoneError, SilenceError, WireError: as `Connection.head`.
        """
        connection = self._idle.pop() if self._idle else await self._made()
        try:
            await self._asked(connection, raw, timeout_s)
        except GoneError:
            if not connection.is_kept:
                raise
            connection = await self._made()
            await self._asked(connection, raw, timeout_s)
        return connection

    async def _asked(self, connection: Connection, raw: bytes, timeout_s: float) -> None:
        try:
            connection.send(raw)
            await connection.head(timeout_s)
        except BaseException:
            connection.close()
            raise

    async def _made(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            raise NoConnectionError("no connection") from error
        return connection

    def request(self, method: bytes, path: bytes, body: bytes = b"", more: bytes = b"") -> bytes:
        """Return the bytes of a request; `more` are header lines, each with its end."""
        lines = b"host: %b\r\ncontent-type: application/json\r\naccept: */*\r\n" % self._authority
        start = b"%b %b%b HTTP/1.1\r\n" % (method, self._path, path)
        return b"%b%b%bcontent-length: %d\r\n\r\n%b" % (start, lines, more, len(body), body)

    async def exchange(self, raw: bytes, *, timeout_s: float, max_bytes: int) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request and return status, headers and body of the answer.

        Raises:
            GoneError, SilenceError, WireError: as `Connection.head`; also when the body is larger than `max_bytes`.
        """
        connection = await self.begun(raw, timeout_s)
        try:
            body = await whole_body(connection, timeout_s=timeout_s, max_bytes=max_bytes)
        except BaseException:
            connection.close()
            raise
        status, headers = connection.status, connection.headers
        connection.release()
        return status, headers, body

    def close(self) -> None:
        self._is_closed = True
        self.drop_idle()

    def drop_idle(self) -> None:
        """End the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def is_free(self, connection: Connection) -> None:
        if self._is_closed:
            connection.close()
        else:
            self._idle.append(connection)

    def is_closed(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)


async def whole_body(connection: Connection, *, timeout_s: float, max_bytes: int) -> bytes:
    """Read the body to its end.

    Raises:
        GoneError, SilenceError, WireError: as `Connection.read`; also when it is larger than `max_bytes`.
    """
    parts, size = [], 0
    while (part := await connection.read(timeout_s)) is not None:
        size += len(part)
        if size > max_bytes:
            raise WireError(f"the body is larger than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)
