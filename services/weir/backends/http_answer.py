"""One answer of a node over HTTP: a request, then server-sent events, one line of JSON each."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Self

import orjson

from weir.backends.answer import AnswerReader, failure
from weir.backends.http_wire import (
    Connection,
    GoneError,
    NoConnectionError,
    Pool,
    SilenceError,
    WireError,
    whole_body,
)
from weir.contracts.errors import BackendError, BackendTimeoutError, BackendUnavailableError, NodeUnreachableError
from weir.contracts.events import GenerationEvent

MAX_REPLY_BYTES: Final = 1 << 20
_MAX_EVENT_BYTES: Final = 1 << 20
_DICTS: Final = frozenset({dict})
_LONGEST_RETRY_S: Final = 300.0


class HttpAnswer:
    """As `Backend.generate` says. No generator, which would cost every event and every answer some steps more."""

    __slots__ = (
        "_arrived",
        "_connection",
        "_failure",
        "_is_over",
        "_node",
        "_note_version",
        "_pool",
        "_raw",
        "_reader",
        "_splitter",
        "_timeout_s",
    )

    def __init__(
        self, node: str, pool: Pool, raw: bytes, timeout_s: float, note_version: Callable[[Any], None]
    ) -> None:
        """`raw`: the bytes of the request, sent when the first event is asked for."""
        self._node, self._pool, self._raw, self._timeout_s = node, pool, raw, timeout_s
        self._note_version = note_version
        self._reader, self._splitter = AnswerReader(node), EventSplitter(node)
        self._connection: Connection | None = None
        self._arrived: list[GenerationEvent] = []
        self._failure: Exception | None = None  # behind what has arrived
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GenerationEvent:
        while not self._arrived:
            if self._is_over:
                raise StopAsyncIteration
            try:
                await self._read()
            except (GoneError, SilenceError, WireError) as error:
                self._end()
                raise translated(error, self._node) from error
            except BaseException:
                self._end()
                raise
        return self._arrived.pop(0)

    async def aclose(self) -> None:
        self._arrived.clear()
        self._end()

    async def _read(self) -> None:
        """Take in what arrived together, once something has."""
        if self._failure is not None:
            raise self._failure
        connection = self._connection or await self._begun()
        read = await connection.read(self._timeout_s)
        if read is None:
            raise BackendUnavailableError(f"{self._node} went away in the middle of an answer")
        if bodies := self._splitter.feed(read):
            self._note_version(bodies[0].get("model_version"))
            events = self._arrived = self._reader.take(bodies)
            self._failure = self._reader.failure
            if events and events[-1].type == "finished":
                self._is_over = True  # before the last event is given: its reader may not come back
                connection.release()

    async def _begun(self) -> Connection:
        connection = self._connection = await self._pool.begun(self._raw, self._timeout_s)
        if connection.status == 200:
            return connection
        body = await whole_body(connection, timeout_s=self._timeout_s, max_bytes=MAX_REPLY_BYTES)
        status, headers = connection.status, connection.headers
        self._is_over = True
        connection.release()
        raise failure(
            self._node,
            status,
            words_of(body),
            retry_after_s=_seconds(headers.get("retry-after")),
            is_deadline=b'"deadline_exceeded"' in body,
        )

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            if self._connection is not None:
                self._connection.close()  # in the middle of an answer: that is how a node hears of it


class EventSplitter:
    """Cuts a stream of server-sent events, one line of JSON each, into their bodies."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._rest = b""

    def feed(self, read: bytes) -> list[dict[str, Any]]:
        """Return the bodies of all events that have fully arrived.

        Raises:
            BackendError: an event is too large, or no JSON object.
        """
        *whole, self._rest = (self._rest + read).split(b"\n\n")
        if len(self._rest) > _MAX_EVENT_BYTES:
            raise BackendError(f"{self._node} sent an event of more than {_MAX_EVENT_BYTES} bytes")
        events = [event[5:] for event in whole if event.startswith(b"data:")]
        try:  # all at once: most of the cost is in the call
            bodies: list[Any] = orjson.loads(b"[%b]" % b",".join(events))
        except orjson.JSONDecodeError as error:
            raise BackendError(f"{self._node} sent something that is not JSON") from error
        if len(bodies) != len(events) or not _DICTS.issuperset(map(type, bodies)):
            raise BackendError(f"{self._node} sent something that is not an event")
        return bodies


def words_of(body: bytes) -> str:
    """Return what a node says of its refusal."""
    with suppress(orjson.JSONDecodeError, AttributeError, UnicodeDecodeError):
        return str(orjson.loads(body).get("error", "refused"))
    return "refused"


def _seconds(text: str | None) -> float:
    with suppress(TypeError, ValueError):
        return min(max(float(text or 1), 1.0), _LONGEST_RETRY_S)
    return 1.0


def translated(error: Exception, node: str) -> BackendError:
    match error:
        case SilenceError():
            return BackendTimeoutError(f"{node} did not answer in time")
        case NoConnectionError():
            return NodeUnreachableError(f"{node} cannot be reached")
        case GoneError():
            return BackendUnavailableError(f"{node} went away")
        case _:
            return BackendError(f"{node} did not speak the protocol")
