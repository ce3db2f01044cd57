"""The node's HTTP surface as one ASGI callable; paths are the Open Inference Protocol's."""

import asyncio
import logging
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from hmac import compare_digest
from time import monotonic
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from weir import __version__
from weir.asgi.body import read_body
from weir.asgi.caller import CallerGoneError, caller_watched
from weir.asgi.connection import ConnectionFactory
from weir.asgi.cycle import Response
from weir.asgi.hosts import Hosts, is_loopback
from weir.asgi.limits import ConnectionLimits
from weir.asgi.types import Receive, Scope, Send
from weir.contracts.errors import (
    BackendUnavailableError,
    OverloadedError,
    RequestRejectedError,
    UnknownModelError,
    WeirError,
)
from weir.contracts.events import Finished, GenerationEvent, TokenChunk
from weir.contracts.repository import REPOSITORY_KEY
from weir.contracts.trace import HEADER, read_traceparent
from weir.cpu_node.embedding import embedded_answer, embedding_metadata
from weir.cpu_node.http import Answer, send_answer, send_part, start_events
from weir.cpu_node.models import ModelHost, Served
from weir.cpu_node.scoring import scored_answer, scoring_metadata
from weir.engine.added import adapters_of
from weir.engine.classifier import TextClassifier
from weir.engine.embedder import TextEmbedder
from weir.engine.serving import ServingEngine
from weir.oip.metadata import model_metadata
from weir.oip.wire import AnswerWriter, NodeCall, error_body, error_event, parse_call, parse_load
from weir.telemetry.node_metrics import NodeMetrics
from weir.telemetry.node_requests import NodeRequests
from weir.telemetry.tracing import Tracing

_log = logging.getLogger("weir.node")
_MODEL_PATH = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_ADAPTER_PATH = r"/v2/repository/models/(?P<model>[^/]+)/adapters/(?P<adapter>[^/]+)"
_BODY_TIMEOUT_S = 10.0
_KEY_HEADER = REPOSITORY_KEY.encode()


class _InternalError(WeirError):
    """What a caller hears of a fault of ours."""


class _ForbiddenError(WeirError):
    """A change by whoever may not change anything."""

    code = "forbidden"


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request: what the path said, and the two ends of the connection."""

    path: dict[str, str | None]
    scope: Scope
    receive: Receive
    send: Send

    @property
    def model(self) -> str:
        return self.path["model"] or ""

    @property
    def traceparent(self) -> str | None:
        return read_traceparent(next((value for name, value in self.scope["headers"] if name == HEADER), None))

    @property
    def version(self) -> int | None:
        """Raises UnknownModelError for a version that is no positive integer."""
        text = self.path.get("version")
        if text is None:
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
            raise UnknownModelError("versions are positive integers")
        return int(text)


_Handler = Callable[[_Exchange], Awaitable[None]]


class NodeApp:
    """Translates; the host decides what is served, engines, classifiers and embedders do the work."""

    def __init__(
        self,
        host: ModelHost,
        metrics: NodeMetrics,
        *,
        max_body_bytes: int,
        repository_key: str = "",
        tracing: Tracing | None = None,
    ) -> None:
        """`repository_key`: what `/v2/repository` wants to see in its header; none: nothing."""
        self._host = host
        self._key = repository_key.encode()
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._requests = NodeRequests(tracing)
        table: tuple[tuple[str, str, _Handler], ...] = (
            ("POST", _MODEL_PATH + "/generate_stream", self._generate_stream),
            ("POST", _MODEL_PATH + "/generate", self._generate),
            ("POST", _MODEL_PATH + "/infer", self._infer),
            ("GET", "/v2", self._server),
            ("GET", "/v2/health/live", self._live),
            ("GET", "/v2/health/ready", self._ready),
            ("GET", _MODEL_PATH + "/ready", self._model_ready),
            ("GET", _MODEL_PATH, self._model),
            ("POST", "/v2/repository/index", self._index),
            ("POST", r"/v2/repository/models/(?P<model>[^/]+)/load", self._load),
            ("POST", r"/v2/repository/models/(?P<model>[^/]+)/unload", self._unload),
            ("POST", _ADAPTER_PATH + "/load", self._add_adapter),
            ("POST", _ADAPTER_PATH + "/unload", self._remove_adapter),
            ("GET", "/metrics", self._render_metrics),
        )
        self._routes = tuple((method, re.compile(path), handler) for method, path, handler in table)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            if self._key and scope["path"].startswith("/v2/repository/") and not _has_key(scope, self._key):
                await send_answer(send, Answer(403, error_body(_ForbiddenError("this needs the repository key"))))
                return
            await self._routed(scope, receive, send)
        except CallerGoneError:
            return
        except WeirError as error:
            self._count_refusal(scope["path"], error)
            await send_answer(send, _refusal(error))
        except Exception:  # noqa: BLE001  the cause goes to the log, not to the caller
            _log.exception("request_failed")
            await send_answer(send, Answer(500, error_body(_InternalError("the node failed"))))

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/") or "/"
        allowed = []
        for method, pattern, handler in self._routes:
            found = pattern.fullmatch(path)
            if found is not None and method == scope["method"]:
                return await handler(_Exchange(found.groupdict(), scope, receive, send))
            if found is not None:
                allowed.append(method.encode())
        if allowed:
            return await send_answer(send, Answer(405, headers=((b"allow", b", ".join(allowed)),)))
        return await send_answer(send, Answer(404, orjson.dumps({"error": "no such path", "code": "not_found"})))

    def _count_refusal(self, path: str, error: WeirError) -> None:
        """Requests that an engine took are counted when they end."""
        if path.rstrip("/").endswith(("/generate", "/generate_stream")):
            match error:
                case OverloadedError():
                    self._metrics.refused("overloaded")
                case RequestRejectedError() | UnknownModelError():
                    self._metrics.refused("rejected")
                case BackendUnavailableError():
                    self._metrics.refused("unavailable")
                case _:
                    pass

    # generation

    async def _generate_stream(self, exchange: _Exchange) -> None:
        engine, call = await self._opened(exchange)
        if call.stream is False:
            return await self._answer_whole(exchange, engine, call)
        return await self._answer_events(exchange, engine, call)

    async def _generate(self, exchange: _Exchange) -> None:
        engine, call = await self._opened(exchange)
        if call.stream:
            return await self._answer_events(exchange, engine, call)
        return await self._answer_whole(exchange, engine, call)

    async def _infer(self, exchange: _Exchange) -> None:
        body = await self._body(exchange)
        model = self._host.text_model(exchange.model, exchange.version)
        async with caller_watched(exchange.receive):
            if isinstance(model, TextEmbedder):
                answer = await embedded_answer(model, body, self._metrics)
            else:
                answer = await scored_answer(model, body, self._metrics)
        await send_answer(exchange.send, Answer(200, answer))

    async def _opened(self, exchange: _Exchange) -> tuple[ServingEngine, NodeCall]:
        body = await self._body(exchange)
        engine = self._host.engine(exchange.model, exchange.version)
        return engine, parse_call(body, exchange.model, traceparent=exchange.traceparent)

    async def _body(self, exchange: _Exchange) -> bytes:
        return await read_body(
            exchange.scope, exchange.receive, max_bytes=self._max_body_bytes, timeout_s=_BODY_TIMEOUT_S
        )

    async def _answer_events(self, exchange: _Exchange, engine: ServingEngine, call: NodeCall) -> None:
        """Stream; the status waits for the first event, so that an early refusal keeps its own."""
        writer = AnswerWriter(call, engine.info.model, engine.info.version)
        began = monotonic()
        async with caller_watched(exchange.receive), aclosing(self._answer(engine, call)) as events:
            first = await anext(events)
            self._metrics.first_token.observe(monotonic() - began)
            await start_events(exchange.send)
            try:
                await _send_event(exchange.send, writer, first)
                async for event in events:
                    await _send_event(exchange.send, writer, event)
            except WeirError as error:
                await send_part(exchange.send, error_event(error), more=False)

    def _answer(self, engine: ServingEngine, call: NodeCall) -> AsyncGenerator[GenerationEvent, None]:
        info = engine.info
        return self._requests.watched(call.request, engine.generate(call.request), info.model, info.version)

    async def _answer_whole(self, exchange: _Exchange, engine: ServingEngine, call: NodeCall) -> None:
        writer = AnswerWriter(call, engine.info.model, engine.info.version)
        chunks: list[TokenChunk] = []
        began = monotonic()
        async with caller_watched(exchange.receive), aclosing(self._answer(engine, call)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    await send_answer(exchange.send, Answer(200, writer.whole(chunks, event)))
                else:
                    if not chunks:
                        self._metrics.first_token.observe(monotonic() - began)
                    chunks.append(event)

    # health, metadata, repository

    async def _server(self, exchange: _Exchange) -> None:
        await _send_json(
            exchange,
            {
                "name": "weir-node",
                "version": __version__,
                "extensions": ["generate", "infer", "model_repository", "return_tokens"],
            },
        )

    async def _live(self, exchange: _Exchange) -> None:
        await send_answer(exchange.send, Answer(200 if self._host.live else 503))

    async def _ready(self, exchange: _Exchange) -> None:
        await send_answer(exchange.send, Answer(200 if self._host.ready else 503))

    async def _model_ready(self, exchange: _Exchange) -> None:
        served = self._host.serving(exchange.model, exchange.version)
        await send_answer(exchange.send, Answer(200 if served.ready else 503))

    async def _model(self, exchange: _Exchange) -> None:
        served = self._host.serving(exchange.model, exchange.version)
        await _send_json(exchange, _described(served))

    async def _index(self, exchange: _Exchange) -> None:
        await _send_json(exchange, [_index_entry(served) for served in self._host.served])

    async def _load(self, exchange: _Exchange) -> None:
        body = await self._body(exchange)
        root = self._host.find(exchange.model, parse_load(body))
        await _send_json(exchange, _index_entry(await self._host.load(root)))

    async def _unload(self, exchange: _Exchange) -> None:
        self._host.unload(exchange.model)
        await _send_json(exchange, {})

    async def _add_adapter(self, exchange: _Exchange) -> None:
        await self._host.add_adapter(exchange.model, exchange.path["adapter"] or "")
        await _send_json(exchange, {})

    async def _remove_adapter(self, exchange: _Exchange) -> None:
        await self._host.remove_adapter(exchange.model, exchange.path["adapter"] or "")
        await _send_json(exchange, {})

    async def _render_metrics(self, exchange: _Exchange) -> None:
        text = await asyncio.to_thread(generate_latest, self._metrics.registry)
        await send_answer(exchange.send, Answer(200, text, CONTENT_TYPE_LATEST.encode()))


def _has_key(scope: Scope, key: bytes) -> bool:
    return any(name == _KEY_HEADER and compare_digest(value, key) for name, value in scope["headers"])


async def _send_event(send: Send, writer: AnswerWriter, event: GenerationEvent) -> None:
    """The last event and the end of the body leave together: a client that stops reading there keeps its connection."""
    if isinstance(event, Finished):
        await send_part(send, writer.end(event), more=False)
    else:
        await send_part(send, writer.chunk(event), more=True)


async def _send_json(exchange: _Exchange, value: Any) -> None:
    await send_answer(exchange.send, Answer(200, orjson.dumps(value)))


def connections(host: str) -> ConnectionFactory:
    """Return what uvicorn is given as its `http` protocol: bounded, and with refusals in this node's form.

    `host` is where it listens: on loopback no web page reaches it under a name of its own.
    """
    hosts = Hosts((), cure="listen elsewhere (--host)") if is_loopback(host) else None
    return ConnectionFactory(_early_refusal, ConnectionLimits(body_timeout_s=_BODY_TIMEOUT_S), hosts=hosts)


def _early_refusal(error: WeirError, scope: Scope) -> Response:
    del scope
    answer = _refusal(error)
    return Response(answer.status, [(b"content-type", answer.content_type), *answer.headers], answer.body)


def _refusal(error: WeirError) -> Answer:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, OverloadedError):
        headers = ((b"retry-after", str(math.ceil(error.retry_after_s)).encode()),)
    return Answer(error.status, error_body(error), headers=headers)


def _described(served: Served) -> dict[str, Any]:
    match served:
        case TextClassifier():
            return scoring_metadata(served)
        case TextEmbedder():
            return embedding_metadata(served)
        case _:
            return _metadata(served)


def _metadata(engine: ServingEngine) -> dict[str, Any]:
    info, stats = engine.info, engine.stats
    return {
        **model_metadata(info.model, info.version, "weir_onnxruntime", of_node=True),
        "parameters": {
            "flavour": info.flavour,
            "context_tokens": engine.context_tokens,
            "adapters": adapters_of(engine),
            "slots": stats.slots,
            "queued": stats.queued,
            "running": stats.running,
            "kv_cache_usage_ratio": stats.kv_used_ratio,
            "generated_tokens_total": stats.generated_tokens_total,
            "tokens_per_second": stats.tokens_per_second,
        },
    }


def _index_entry(served: Served) -> dict[str, str]:
    state = "READY" if served.ready else "UNAVAILABLE"
    return {"name": served.info.model, "version": str(served.info.version), "state": state, "reason": ""}
