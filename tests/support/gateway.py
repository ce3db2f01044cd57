"""A real gateway over scripted backends, on a loopback port, in a thread."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry

from weir import __version__
from weir.asgi.connection import ConnectionFactory
from weir.asgi.limits import ConnectionLimits
from weir.backends.base import Backend
from weir.backends.classifier import Classifier
from weir.backends.embedder import Embedder, HttpEmbedder
from weir.backends.scripted import Script, ScriptedBackend
from weir.backends.traced import TracedBackend
from weir.contracts.events import Finished, FinishReason, GenerationEvent, Token, TokenChunk, Usage
from weir.contracts.request import GenerateRequest
from weir.gateway.access import Access
from weir.gateway.app import GatewayApp, assemble
from weir.gateway.catalog import Catalog
from weir.gateway.edge import connections, refusal
from weir.gateway.settings import GatewaySettings
from weir.guard.compiled import CompiledGuard
from weir.guard.policy import PolicySet, parse_policy
from weir.routing.node import Node
from weir.telemetry.metrics import GatewayMetrics
from weir.telemetry.tracing import open_tracing

POLICY = """
version: 1
id: test
rules:
  - {id: injection, direction: [input], action: block, terms: [ignore previous instructions, 忽略之前的指令]}
  - {id: codename, direction: [input], action: redact, terms: [bluebird], replacement: "[codename]"}
  - {id: bomb, direction: [output], action: block, terms: [炸弹, detonate]}
  - id: email
    direction: [output]
    action: redact
    regex: '[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\\.[a-z0-9-]{1,63}){0,4}\\.[a-z]{2,24}'
    replacement: "[email]"
    examples: {hit: [mail a@b.example], miss: [a at b.example]}
"""


@dataclass
class Reply:
    """A whole response; `events` are the JSON bodies of a stream, but for `[DONE]`."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        lines = [line[5:].strip() for line in self.body.splitlines() if line.startswith(b"data:")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]


class Stage:
    """A backend whose script a test sets just before it asks."""

    def __init__(self) -> None:
        self.script: Script | Callable[[GenerateRequest], Script] = answer("ok")
        self.backend = ScriptedBackend(self._play)

    @property
    def asked(self) -> GenerateRequest:
        """The request that the backend saw last."""
        return self.backend.calls[-1]

    def _play(self, request: GenerateRequest) -> Script:
        return self.script(request) if callable(self.script) else self.script


@dataclass
class Gateway:
    """A running gateway; `metric` reads one sample, 0 when there is none yet."""

    url: str
    port: int
    app: GatewayApp

    def metric(self, name: str, **labels: str) -> float:
        value = self.app.service.metrics.registry.get_sample_value(f"weir_gateway_{name}", labels)
        return value or 0.0

    def forgive(self) -> None:
        """Close every breaker: a test starts with nodes that are well."""
        for node in self.app.service.router.nodes:
            node.member.breaker.close()
            node.member.has_failed = False
            self.app.service.router.fleet.up(node.member, is_up=True)
            node.member.set_open()

    def get(self, path: str) -> "Reply":
        return asked(self.port, "GET", path)

    def post(self, path: str, body: Any, **headers: str) -> "Reply":
        return asked(self.port, "POST", path, body, **headers)

    def eventually(self, is_so: Callable[[], bool], *, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.005)


def asked(port: int, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    """Ask a gateway on a connection of its own; a body that is not bytes is sent as JSON."""
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} if method == "POST" else {}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=15)) as connection:
        connection.request(method, path, raw, given)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())


def answer(
    *texts: str, reason: FinishReason = FinishReason.EOS, prompt_tokens: int = 5
) -> Callable[[GenerateRequest], Sequence[GenerationEvent]]:
    """A script that says `texts`, one token each, with token objects when the request asks for them."""

    def play(request: GenerateRequest) -> Sequence[GenerationEvent]:
        tokens = [Token(10 + i, text, -0.5) for i, text in enumerate(texts)]
        chunks = [TokenChunk(t.text, 1, (t,) if request.return_tokens else ()) for t in tokens]
        return [*chunks, Finished(reason, Usage(prompt_tokens, len(texts)))]

    return play


def build_app(
    release: Path,
    backends: Sequence[Backend],
    policy: PolicySet | None = None,
    *,
    with_store: bool = False,
    classifier: Classifier | None = None,
    embedder: Callable[[str, str], Embedder] = HttpEmbedder,
    **given: Any,
) -> GatewayApp:
    settings = GatewaySettings(
        nodes=[{"name": backend.name, "url": "http://127.0.0.1:1"} for backend in backends], releases=[release], **given
    )
    catalog = Catalog.from_releases(settings.releases)
    metrics = GatewayMetrics(CollectorRegistry())
    access = Access.open(settings.access, metrics, home=settings.home, host=settings.host) if with_store else None
    guard = CompiledGuard.build(policy or parse_policy(POLICY, "test"))
    tracing = open_tracing(settings.tracing, "weir-gateway", __version__)
    nodes = [Node(TracedBackend(each, tracing) if tracing else each, metrics) for each in backends]
    made = {
        "metrics": metrics,
        "access": access,
        "classifier": classifier,
        "tracing": tracing,
        "embedder": embedder,
    }
    return assemble(settings, catalog, guard, nodes, **made)


@contextmanager
def running(app: Any, limits: ConnectionLimits | None = None) -> Generator[int, None, None]:
    """Serve an ASGI app in a thread, over connections as the gateway's own; the value is its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    chosen = limits or ConnectionLimits()
    edge = connections(app, chosen) if isinstance(app, GatewayApp) else ConnectionFactory(refusal, chosen)
    config = uvicorn.Config(
        app,
        http=edge,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server took too long to start"
        time.sleep(0.005)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


@contextmanager
def gateway(release: Path, *backends: Backend, policy: PolicySet | None = None, **given: Any) -> Generator[Gateway]:
    app = build_app(release, backends, policy, **given)
    limits = ConnectionLimits(body_timeout_s=app.settings.body_timeout_s)
    with running(app, limits) as port:
        yield Gateway(f"http://127.0.0.1:{port}", port, app)
