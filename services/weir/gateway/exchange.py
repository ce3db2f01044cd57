"""The hot path: one POST over raw ASGI, from its body to its last byte."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from weir.contracts.errors import RequestRejectedError, WeirError
from weir.gateway.generation import Generation
from weir.gateway.refusals import BodyTooLargeError, BodyTooSlowError
from weir.gateway.service import GenerationService
from weir.gateway.streams import collected
from weir.gateway.surfaces.base import Headers, Job, Reply, Surface, new_request_id

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_ID_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class CallerGoneError(Exception):
    """The caller went away before its request was read."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Handles the requests of one surface."""

    surface: Surface
    service: GenerationService
    max_body_bytes: int
    body_timeout_s: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        try:
            job = self.surface.parse(await self._body(scope, receive), request_id)
        except CallerGoneError:
            self._count(499)
        except RequestRejectedError as error:
            reply = self.surface.error(error)
            self._count(reply.status)
            await _send_reply(send, reply, request_id)
        else:
            await self._answer(job, receive, send, request_id)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self.body_timeout_s):
                return await read_body(scope, receive, self.max_body_bytes)
        except TimeoutError:
            raise BodyTooSlowError(self.body_timeout_s) from None

    async def _answer(self, job: Job, receive: Receive, send: Send, request_id: str) -> None:
        reply: Reply | None = None
        async with Departure(receive) as departure:
            reply = await self._run(job, send, request_id)
        if departure.is_noticed:
            return
        if reply is None:
            await send({"type": "http.response.body", "body": b""})
        else:
            await _send_reply(send, reply, request_id)

    async def _run(self, job: Job, send: Send, request_id: str) -> Reply | None:
        """Return what to send, or none when a stream was sent but for its end."""
        try:
            generation = await self.service.start(job.ask)
            async with aclosing(generation.events):
                if not job.is_stream:
                    return job.whole(generation, await collected(generation.events))
                await self._stream(job, generation, send, request_id)
                return None
        except WeirError as error:
            return self.surface.error(error)
        except Exception:  # noqa: BLE001 - the caller gets a reply in its own API's form
            _log.exception("request_failed")
            return self.surface.error(WeirError("internal error"))

    async def _stream(self, job: Job, generation: Generation, send: Send, request_id: str) -> None:
        await send(_start(200, job.stream_headers(generation), request_id))
        try:
            async with aclosing(job.frames(generation)) as frames:
                async for frame in frames:
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
        except WeirError as error:
            await self._send_late(send, error)
        except Exception:  # noqa: BLE001 - the status is sent: the stream itself must tell
            _log.exception("stream_failed")
            await self._send_late(send, WeirError("internal error"))

    async def _send_late(self, send: Send, error: WeirError) -> None:
        await send({"type": "http.response.body", "body": self.surface.late_error(error), "more_body": True})

    def _count(self, status: int) -> None:
        self.service.metrics.requests(self.surface.path, "none", "none", str(status)).inc()


class Departure:
    """Cancels the block when the caller goes away, and swallows that cancellation."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_noticed = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._watcher.cancel()
        if not self.is_noticed or self._task is None:
            return False
        self._task.uncancel()
        return kind is asyncio.CancelledError

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_noticed = True
        if self._task is not None:
            self._task.cancel()


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """Read a request's body.

    Raises:
        BodyTooLargeError: it is larger than the limit, by its header or as it arrives.
        CallerGoneError: the caller went away.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit_bytes:
            raise BodyTooLargeError(limit_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit_bytes:
            raise BodyTooLargeError(limit_bytes)
        if not message.get("more_body", False):
            return b"".join(parts)


def _request_id(scope: Scope) -> str:
    """Return the caller's `x-request-id` if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= 128 and _ID_CHARACTERS.issuperset(value):
            return str(value.decode())
    return new_request_id()


def _start(status: int, headers: Headers, request_id: str) -> dict[str, Any]:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [*headers, (b"x-request-id", request_id.encode())],
    }


async def _send_reply(send: Send, reply: Reply, request_id: str) -> None:
    length = (b"content-length", b"%d" % len(reply.body))
    await send(_start(reply.status, [*reply.headers, length], request_id))
    await send({"type": "http.response.body", "body": reply.body})
