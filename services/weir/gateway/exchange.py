"""The hot path: one POST over raw ASGI, from its body to its last byte."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from weir.asgi.body import read_body
from weir.asgi.caller import CallerGoneError, caller_watched
from weir.asgi.types import Receive, Scope, Send
from weir.contracts.caller import ANYONE, Caller
from weir.contracts.errors import WeirError
from weir.gateway.access import Access
from weir.gateway.context import picked, request_id_of
from weir.gateway.denials import headers_of
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.idempotency import AttemptName, Attempts, Recorder
from weir.gateway.provenance import served_by
from weir.gateway.service import GenerationService
from weir.gateway.streams import Pumped, all_collected, all_of
from weir.gateway.surfaces.base import Direct, Headers, Job, Reply, Surface

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Handles the requests of one surface."""

    surface: Surface
    service: GenerationService
    max_body_bytes: int
    body_timeout_s: float
    attempts: Attempts
    access: Access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = picked(scope["headers"])
        request_id = request_id_of(said)
        caller = ANYONE
        try:
            context = self.access.reader.context(said, request_id)
            caller = context.caller
            await self.access.admit(caller)  # before the body: a caller above his limits costs nothing
            body = await read_body(scope, receive, max_bytes=self.max_body_bytes, timeout_s=self.body_timeout_s)
            job = self.surface.parse(body, context)
            await self.service.in_step()
        except CallerGoneError:
            self._count(499)
        except WeirError as error:
            reply = self._refusal(error)
            self._count(reply.status)
            await self._send_reply(send, reply, request_id, caller)
        else:
            await self._answer(job, self._named(context, body), receive, send)

    async def _answer(self, job: Job | Direct, name: AttemptName | None, receive: Receive, send: Send) -> None:
        context = _context_of(job)
        try:
            async with caller_watched(receive):
                reply = await self._reply(job, name, send, context.id)
        except CallerGoneError:
            return
        if reply is None:
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._send_reply(send, reply, context.id, context.caller)

    def _refusal(self, error: WeirError) -> Reply:
        reply = self.surface.error(error)
        return reply._replace(headers=reply.headers + headers_of(error))

    async def _send_reply(self, send: Send, reply: Reply, request_id: str, caller: Caller) -> None:
        headers = [*reply.headers, *self.access.ledger.headers(caller), (b"content-length", b"%d" % len(reply.body))]
        await send(_start(reply.status, headers, request_id))
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, job: Job | Direct, name: AttemptName | None, send: Send, request_id: str) -> Reply | None:
        """As `_run`, but attempts with one idempotency key are one."""
        if name is None or isinstance(job, Direct):
            return await self._run(job, send, request_id)
        try:
            if job.is_stream:
                return await self._streamed_once(job, name, send, request_id)
            return await self.attempts.whole(name, partial(self._run_whole, job, send, request_id))
        except WeirError as error:
            return self._refusal(error)

    async def _streamed_once(self, job: Job, name: AttemptName, send: Send, request_id: str) -> Reply | None:
        if (known := self.attempts.known(name)) is not None:
            return known
        with self.attempts.streaming(name, send) as recording:
            return await self._run(job, recording, request_id)

    async def _run_whole(self, job: Job, send: Send, request_id: str) -> Reply:
        reply = await self._run(job, send, request_id)
        if reply is None:
            raise RuntimeError("only a stream is sent while it is made")
        return reply

    async def _run(self, job: Job | Direct, send: Send, request_id: str) -> Reply | None:
        """Return what to send, or none when a stream was sent but for its end."""
        try:
            if isinstance(job, Direct):
                return await self._direct(job)
            if len(job.asks) == 1 and not job.is_stream:
                generation, answer = await self.service.whole(job.asks[0])
                return _with_origin(job.whole((generation,), (answer,)), (generation,))
            if len(job.asks) == 1:
                generation = await self.service.start(job.asks[0])
                try:
                    return await self._given(job, (generation,), send, request_id)
                finally:
                    await generation.events.aclose()
            async with AsyncExitStack() as stack:
                return await self._given(job, await self._all_started(job.asks, stack), send, request_id)
        except WeirError as error:
            return self._refusal(error)
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
            if not job.counts_itself:
                self._count(status)

    async def _given(self, job: Job, generations: Sequence[Generation], send: Send, request_id: str) -> Reply | None:
        if job.is_stream:
            await self._stream(job, generations, send, request_id)
            return None
        answers = await all_collected([generation.events for generation in generations])
        return _with_origin(job.whole(generations, answers), generations)

    async def _all_started(self, asks: Sequence[Ask], stack: AsyncExitStack) -> list[Generation]:
        """Start all; what was started is closed with the stack, also when another one is refused."""

        async def start(ask: Ask) -> Generation:
            generation = await self.service.start(ask)
            generation.stream = Pumped(generation.events)
            await stack.enter_async_context(aclosing(generation.events))
            return generation

        return await all_of([start(ask) for ask in asks])

    async def _stream(self, job: Job, generations: Sequence[Generation], send: Send, request_id: str) -> None:
        for generation in generations:
            generation.is_streamed = True
        headers = job.stream_headers(generations) + _origin(generations)
        headers += self.access.ledger.headers(_context_of(job).caller)
        await send(_start(200, headers, request_id))
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
        if isinstance(send, Recorder):
            send.spoil()
        await send({"type": "http.response.body", "body": self.surface.late_error(error), "more_body": True})

    def _named(self, context: RequestContext, body: bytes) -> AttemptName | None:
        if context.idempotency_key is None:
            return None
        digest = sha256(self.surface.path.encode() + b"\n" + body).digest()
        policy = self.service.guards.compiled.policy.sha256
        return AttemptName(context.caller.key_id, context.idempotency_key, digest, policy)

    def _count(self, status: int) -> None:
        self.service.metrics.requests(self.surface.path, "none", "none", str(status)).inc()


def _context_of(job: Job | Direct) -> RequestContext:
    return job.context if isinstance(job, Direct) else job.asks[0].context


def _origin(generations: Sequence[Generation]) -> Headers:
    """Return the headers that say where the answers come from."""
    headers = [*served_by(generations)]
    if all(generation.is_cached for generation in generations):
        headers.append((b"x-weir-cache", b"hit"))
    return headers


def _with_origin(reply: Reply, generations: Sequence[Generation]) -> Reply:
    return reply._replace(headers=reply.headers + _origin(generations))


def _start(status: int, headers: Headers, request_id: str) -> dict[str, Any]:
    headers.append((b"x-request-id", request_id.encode()))
    return {"type": "http.response.start", "status": status, "headers": headers}
