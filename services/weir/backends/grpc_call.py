"""One gRPC call: a request message, and the messages that answer it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Protocol
from urllib.parse import unquote

STREAM_WINDOW: Final = 1 << 18  # unread bytes of one call; beyond it the node is made to wait
_ACKNOWLEDGED: Final = STREAM_WINDOW // 4  # so many bytes at once
_MOST_MESSAGE_BYTES: Final = 4 << 20
_PREFIX: Final = 5  # bytes before each message
_END_S: Final = 1.0  # for the status of an answer whose reader has left


class Code(IntEnum):
    """Status codes of gRPC that mean something here."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


_RESETS: Final = {7: Code.UNAVAILABLE, 8: Code.CANCELLED, 11: Code.RESOURCE_EXHAUSTED}  # by HTTP/2's own error codes
_STATUSES: Final = {404: Code.UNIMPLEMENTED, 429: Code.UNAVAILABLE, 502: Code.UNAVAILABLE, 503: Code.UNAVAILABLE}


class RpcError(Exception):
    """A call failed; `code` is gRPC's status, which may be none of `Code`."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details

    @property
    def name(self) -> str:
        return Code(self.code).name.lower() if self.code in Code.__members__.values() else str(self.code)


class SilenceError(Exception):
    """Nothing came in time."""


class Carrier(Protocol):
    """What a call needs of its connection."""

    def now(self) -> float: ...

    def future(self) -> "asyncio.Future[None]": ...

    def cancel(self, call: "Call", held: int) -> None:
        """Reset its stream; `held` bytes of it were not acknowledged."""
        ...

    def acknowledge(self, size: int, number: int) -> None:
        """Tell the node that so many bytes of a stream were read."""
        ...


class Call:
    """One request, and the messages that answer it: `read` until None, or `cancel`, or `release`."""

    __slots__ = (
        "_connection",
        "_details",
        "_held",
        "_messages",
        "_read_bytes",
        "_rest",
        "_status",
        "_waiter",
        "due",
        "error",
        "id",
    )

    def __init__(self, connection: Carrier, number: int) -> None:
        self.id = number
        self.due = 0.0  # when the current wait is over, on the loop's clock; 0: nothing is awaited
        self.error: Exception | None = None
        self._connection: Carrier | None = connection  # none: it is over
        self._messages: deque[bytes] = deque()
        self._rest = b""
        self._held = self._read_bytes = 0  # bytes that the node was not told were read, and those that were
        self._status: int | None = None
        self._details = ""
        self._waiter: asyncio.Future[None] | None = None

    async def read(self, timeout_s: float) -> bytes | None:
        """Return the next message; none: the call ended well.

        Raises:
            RpcError: it ended otherwise.
            SilenceError: nothing came for `timeout_s` seconds.
        """
        if not self._messages and not await self._come(timeout_s):
            return None
        message = self._messages.popleft()
        self._count(len(message) + _PREFIX)
        return message

    async def read_all(self, timeout_s: float) -> list[bytes]:
        """Return all messages that have come since the last read; wait if there is none. Empty: the call ended well.

        Raises:
            RpcError, SilenceError: as `read`.
        """
        if not self._messages and not await self._come(timeout_s):
            return []
        messages = list(self._messages)
        self._messages.clear()
        self._count(sum(map(len, messages)) + _PREFIX * len(messages))
        return messages

    async def _come(self, timeout_s: float) -> bool:
        """Wait for a message; false: the call ended well."""
        while not self._messages:
            if self.error is not None:
                raise self.error
            connection = self._connection
            if connection is None:
                return False
            self._waiter = connection.future()
            self.due = connection.now() + timeout_s
            try:
                await self._waiter
            finally:
                self._waiter = None
                self.due = 0.0
        return True

    def _count(self, size: int) -> None:
        self._read_bytes += size
        if self._read_bytes >= _ACKNOWLEDGED and self._connection is not None:
            self._connection.acknowledge(self._read_bytes, self.id)
            self._held -= self._read_bytes
            self._read_bytes = 0

    def cancel(self) -> None:
        """Tell the node to stop, unless it has ended."""
        if (connection := self._connection) is not None:
            self._connection = None
            connection.cancel(self, self._held)

    def release(self) -> None:
        """Say that nobody reads on: the call ends by itself, or is cancelled if it takes its time."""
        if (connection := self._connection) is not None:
            self.due = connection.now() + _END_S
            self._waiter = None

    def fail(self, error: Exception) -> None:
        """Cancel it; whoever reads it gets `error` behind the messages that are there."""
        self.error = self.error or error
        self.cancel()
        self._wake()

    # What the connection calls.

    def feed(self, data: bytes) -> None:
        self._held += len(data)
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= _PREFIX:
            stop = at + _PREFIX + int.from_bytes(data[at + 1 : at + _PREFIX], "big")
            if data[at]:
                self.fail(RpcError(Code.UNIMPLEMENTED, "a message is compressed"))
                return
            if stop - at > _MOST_MESSAGE_BYTES:
                self.fail(RpcError(Code.RESOURCE_EXHAUSTED, f"a message is larger than {_MOST_MESSAGE_BYTES} bytes"))
                return
            if stop > end:
                break
            self._messages.append(data[at + _PREFIX : stop])
            at = stop
        self._rest = data[at:]
        self._wake()

    def take_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Take in an answer's head, or what comes behind its messages."""
        for name, value in headers:
            if name == b"grpc-status":
                self._status = int(value) if value.isdigit() else Code.UNKNOWN
            elif name == b"grpc-message":
                self._details = unquote(value.decode("latin-1"))
            elif name == b":status" and value != b"200" and self._status is None:
                self._status = _STATUSES.get(int(value), Code.UNKNOWN)
                self._details = f"HTTP status {value.decode()}"

    def closed(self, reset: int) -> int:
        """Note that the stream is over; `reset`: by HTTP/2's error code. Return the bytes to acknowledge."""
        self._connection = None
        status = self._status
        if status is None:
            status = _RESETS.get(reset, Code.INTERNAL) if reset else Code.UNKNOWN
            self._details = f"the stream was reset ({reset})" if reset else "the stream ended without a status"
        elif status == Code.OK and self._rest:
            status, self._details = Code.INTERNAL, "the stream ended in the middle of a message"
        if status != Code.OK and self.error is None:
            self.error = RpcError(status, self._details)
        self._wake()
        return self._held

    def lost(self) -> None:
        self._connection = None
        self.error = self.error or RpcError(Code.UNAVAILABLE, "the connection ended")
        self._wake()

    def overdue(self) -> None:
        """Note that nothing came in time."""
        if self._waiter is None:  # it was released
            self.cancel()
        else:
            self.error = self.error or SilenceError("nothing came in time")
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
