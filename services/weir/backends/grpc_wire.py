"""gRPC as a node speaks it: one HTTP/2 connection, and calls of one request message on it.

Written for the gateway's hot path, where grpc.aio costs three times as much: no task and no timer per call. HTTP/2
itself (frames, header compression, flow control) is nghttp2's. No TLS, no compression, no retries: the router's.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

import ngh2
from ngh2 import Configuration, Role, Setting

from weir.backends.grpc_call import STREAM_WINDOW, Call, Code, RpcError

_CONNECTION_WINDOW: Final = 1 << 30  # of all: a slow reader holds up nobody else
_TICK_S: Final = 0.05
_KEEPALIVE_S: Final = 30.0  # of silence, then the node is asked whether it is there
_KEEPALIVE_WAIT_S: Final = 20.0
_MOST_PINGS: Final = 2  # in a row that nothing but their echo follows: servers end a connection for more
_ALWAYS: Final = ((b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"user-agent", b"weir"))

Metadata = Sequence[tuple[str, str]]


class NotConnectedError(Exception):
    """The connection could not be made: nothing was asked."""


class Connection(asyncio.Protocol):
    """One connection, for as many calls at once as the node allows; more wait in nghttp2."""

    def __init__(self, authority: bytes) -> None:
        self._authority = authority
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._h2 = ngh2.Connection(Role.CLIENT, Configuration(auto_window_update=False))
        self._calls: dict[int, Call] = {}
        self._heads: dict[str, list[tuple[bytes, bytes]]] = {}
        self._is_leaving = self._is_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self.now()
        self._pinged_at, self._pings = 0.0, 0

    @property
    def is_usable(self) -> bool:
        """Whether another call may begin."""
        return not self._is_leaving and not self._is_lost and self._h2.can_send_request

    def call(self, path: str, message: bytes, metadata: Metadata = ()) -> Call:
        """Send a request."""
        head = self._heads.get(path)
        if head is None:
            first = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()))
            head = self._heads[path] = [*first, (b":authority", self._authority), *_ALWAYS]
        if metadata:
            head = [*head, *((name.encode(), value.encode()) for name, value in metadata)]
        if self._is_lost:
            return self._stillborn()
        number = self._h2.send_request(head)
        self._h2.send_data(number, b"\0%b%b" % (len(message).to_bytes(4, "big"), message), end_stream=True)
        call = self._calls[number] = Call(self, number)
        self._flush()
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK_S, self._tick)
        return call

    def future(self) -> "asyncio.Future[None]":
        return self._loop.create_future()

    def cancel(self, call: Call, held: int) -> None:
        if self._calls.pop(call.id, None) is not None and not self._is_lost:
            self._h2.reset_stream(call.id)
            self.acknowledge(held, call.id)
            self._end_if_done()

    def acknowledge(self, size: int, number: int) -> None:
        if size:
            self._h2.acknowledge_received_data(size, number)
        self._flush()

    def close(self) -> None:
        """End the connection, and with it all calls."""
        if not self._is_lost:
            self._transport.abort()
            self.connection_lost(None)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._h2.initiate_connection({Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW, Setting.ENABLE_PUSH: 0})
        self._h2.set_local_window_size(_CONNECTION_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.now()
        try:
            self._h2.receive_data(data)
        except ngh2.NGH2Error:
            self.close()
            return
        for event in self._h2.events():
            self._take(event)
        self._flush()
        self._end_if_done()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.lost()

    # The rest.

    def _take(self, event: ngh2.Event) -> None:
        match event:
            case ngh2.DataReceived(number, data, _):
                self._pings = 0
                if (call := self._calls.get(number)) is not None:
                    call.feed(data)
                else:
                    self._h2.acknowledge_received_data(len(data), number)
            case ngh2.ResponseReceived(number, headers, _) | ngh2.TrailersReceived(number, headers):
                self._pings = 0
                if (call := self._calls.get(number)) is not None:
                    call.take_headers(headers)
            case ngh2.StreamClosed(number, code, _):
                if (call := self._calls.pop(number, None)) is not None and (held := call.closed(code)):
                    self._h2.acknowledge_received_data(held, number)
            case ngh2.GoAwayReceived() | ngh2.ConnectionClosed():
                self._is_leaving = True
            case _:
                pass

    def _flush(self) -> None:
        if not self._is_lost and (data := self._h2.data_to_send()):
            self._transport.write(data)

    def _end_if_done(self) -> None:
        if (self._is_leaving and not self._calls) or not (self._h2.want_read or self._h2.want_write):
            self.close()

    def _stillborn(self) -> Call:
        call = Call(self, 0)
        call.lost()
        return call

    def _tick(self) -> None:
        """Look at all waits at once: a timer for each would cost more than the rest of a call."""
        self._timer = None
        now = self.now()
        for call in [call for call in self._calls.values() if 0.0 < call.due <= now]:
            call.overdue()
        if self._calls and not self._is_lost:
            self._keep_alive(now)
            self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _keep_alive(self, now: float) -> None:
        if now - self._heard_at < _KEEPALIVE_S or self._pings > _MOST_PINGS:
            return
        if self._pinged_at <= self._heard_at:
            self._pings += 1
            self._pinged_at = now
            self._h2.ping()
            self._flush()
        elif now - self._pinged_at > _KEEPALIVE_WAIT_S:
            self.close()


class Channel:
    """The connection to `address` (`host:port`), made when it is needed, and anew when it ended."""

    def __init__(self, address: str, *, connect_timeout_s: float) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._authority = address.encode()
        self._connect_timeout_s = connect_timeout_s
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    async def connection(self) -> Connection:
        """Return one that another call may begin on; who asks while it is being made shares it.

        Raises:
            NotConnectedError: the node cannot be reached, or does not take the connection in time.
        """
        connection = self._connection
        if connection is not None and connection.is_usable:
            return connection
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._made())
        return await asyncio.shield(self._connecting)

    async def unary(self, path: str, message: bytes, *, timeout_s: float, metadata: Metadata = ()) -> bytes:
        """Ask for one message.

        Raises:
            NotConnectedError, RpcError, SilenceError: there is none.
        """
        call = (await self.connection()).call(path, message, metadata)
        try:
            answer = await call.read(timeout_s)
            if answer is None or await call.read(timeout_s) is not None:
                raise RpcError(Code.INTERNAL, "not one message")
            return answer
        finally:
            call.cancel()

    async def aclose(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()

    async def _made(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._authority), self._host, self._port
                )
        except TimeoutError:
            raise NotConnectedError("did not take the connection in time") from None
        except OSError as error:
            raise NotConnectedError("cannot be reached") from error
        self._connection = connection
        return connection
