"""The hot path: one POST over raw ASGI, from its body to its last byte."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from weir.asgi.body import read_body
from weir.asgi.caller import CallerGoneError, caller_watched
from weir.asgi.types import Receive, Scope, Send
from weir.contracts.errors import WeirError
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.service import GenerationService
from weir.gateway.streams import Pumped, all_collected, all_of
from weir.gateway.surfaces.base import Direct, Headers, Job, Reply, Surface, new_request_id

_log = logging.getLogger(__name__)

_ID_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


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
            body = await read_body(scope, receive, max_bytes=self.max_body_bytes, timeout_s=self.body_timeout_s)
            job = self.surface.parse(body, RequestContext(request_id))
        except CallerGoneError:
            self._count(499)
        except WeirError as error:
            reply = self.surface.error(error)
            self._count(reply.status)
            await _send_reply(send, reply, request_id)
        else:
            await self._answer(job, receive, send, request_id)

    async def _answer(self, job: Job | Direct, receive: Receive, send: Send, request_id: str) -> None:
        try:
            async with caller_watched(receive):
                reply = await self._run(job, send, request_id)
        except CallerGoneError:
            return
        if reply is None:
            await send({"type": "http.response.body", "body": b""})
        else:
            await _send_reply(send, reply, request_id)

    async def _run(self, job: Job | Direct, send: Send, request_id: str) -> Reply | None:
        """Return what to send, or none when a stream was sent but for its end."""
        try:
            if isinstance(job, Direct):
                return await self._direct(job)
            async with AsyncExitStack() as stack:
                generations = await self._started(job.asks, stack)
                if not job.is_stream:
                    return job.whole(generations, await all_collected([g.events for g in generations]))
                await self._stream(job, generations, send, request_id)
                return None
        except WeirError as error:
            return self.surface.error(error)
        except Exception:  # noqa: BLE001 - the caller gets a reply in its own API's form
            _log.exception("request_failed")
            return self.surface.error(WeirError("internal error"))

    async def _direct(self, job: Direct) -> Reply:
        """Count what needs no node by its status; the other requests are counted by the service."""
        status = 500
        try:
            reply = await job.answer(self.service)
            status = reply.status
        except WeirError as error:
            status = self.surface.error(error).status
            raise
        else:
            return reply
        finally:
            self._count(status)

    async def _started(self, asks: Sequence[Ask], stack: AsyncExitStack) -> list[Generation]:
        """Start all; what was started is closed with the stack, also when another one is refused."""

        async def start(ask: Ask) -> Generation:
            generation = await self.service.start(ask)
            if len(asks) > 1:
                generation.stream = Pumped(generation.events)
            await stack.enter_async_context(aclosing(generation.events))
            return generation

        return [await start(asks[0])] if len(asks) == 1 else await all_of([start(ask) for ask in asks])

    async def _stream(self, job: Job, generations: Sequence[Generation], send: Send, request_id: str) -> None:
        await send(_start(200, job.stream_headers(generations), request_id))
        try:
            async with aclosing(job.frames(generations)) as frames:
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
