"""The load generator's connection: as little work as can be, so that its own CPU stays out of the figures."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

from weir.contracts.errors import JobError
from weir_training.benching.gateway.script import TEXT

_SENT_AT: Final = re.compile(rb'"(?:id":|content":"[a-z.]+ )(\d+)')  # where a scripted node's token says it
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK: Final = b"0\r\n\r\n"

OnData = Callable[[bytes], None]


class Call(NamedTuple):
    """Where a request goes and its bytes."""

    host: str
    port: int
    raw: bytes


def text_of(size: int, mark: str) -> str:
    """Return a prompt of `size` bytes."""
    return mark + (TEXT * (size // len(TEXT) + 1))[: size - len(mark)]


def call(url: str, body: dict[str, object], key: str | None = None) -> Call:
    parts = urlsplit(url)
    raw = json.dumps(body).encode()
    given = "" if key is None else f"authorization: Bearer {key}\r\n"
    head = f"POST {parts.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{given}"
    return Call(
        parts.hostname or "127.0.0.1",
        parts.port or 80,
        head.encode() + b"content-length: %d\r\n\r\n%b" % (len(raw), raw),
    )


def scrape_call(url: str) -> Call:
    parts = urlsplit(url)
    raw = f"GET {parts.path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode()
    return Call(parts.hostname or "127.0.0.1", parts.port or 80, raw)


def sent_at(data: bytes) -> list[int]:
    """Return when the tokens in `data` left the node, each a `moment`."""
    return [int(text) for text in _SENT_AT.findall(data)]


class Connection(asyncio.Protocol):
    """Sends one request after another and waits for each answer's end."""

    def __init__(self) -> None:
        self._done: asyncio.Future[None] | None = None
        self._on_data: OnData | None = None
        self._head, self._tail = b"", b""
        self._has_head = False
        self._left: int | None = None  # bytes of the body; none: until the last chunk

    @classmethod
    async def open(cls, where: Call) -> "Connection":
        _, protocol = await asyncio.get_running_loop().create_connection(cls, where.host, where.port)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def ask(self, raw: bytes, on_data: OnData | None = None) -> asyncio.Future[None]:
        """Send a request; the future is done when its answer is whole."""
        self._begin(on_data)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return self._done

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._on_data is not None:
            self._on_data(data)
        if self._left is None and not self._has_head:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._read_head(self._head[:end])
            data = self._head[end + 4 :]
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        if self._left is None:
            is_whole = self._tail == _LAST_CHUNK
        else:
            self._left -= len(data)
            is_whole = self._left <= 0
        if is_whole and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or JobError("the connection was closed in the middle of an answer"))

    def _begin(self, on_data: OnData | None) -> None:
        self._on_data = on_data
        self._head, self._tail = b"", b""
        self._has_head = False
        self._left = None

    def _read_head(self, head: bytes) -> None:
        self._has_head = True
        if head[9:12] != b"200" and self._done is not None and not self._done.done():
            self._done.set_exception(JobError(f"the answer was {head[9:12].decode('latin-1')}, not 200"))
        length = _LENGTH.search(head)
        self._left = int(length.group(1)) if length else None
