"""A CPU node in this process, on a real port, and a client of it."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvicorn
from prometheus_client import CollectorRegistry

from tests.support.tiny_release import PROMPTS
from weir.asgi.listen import listen
from weir.cpu_node.app import NodeApp, connections
from weir.cpu_node.models import ModelHost
from weir.cpu_node.server import uvicorn_config
from weir.cpu_node.settings import NodeSettings
from weir.engine.engine import Engine
from weir.telemetry.node_metrics import NodeMetrics


@dataclass
class Node:
    """A node in this process on a real port, and a client of it."""

    url: str
    host: ModelHost
    registry: CollectorRegistry
    home: Path
    client: aiohttp.ClientSession

    def post(self, path: str, body: object):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(self.url + path, data=io.BytesIO(data))

    async def events(self, body: dict, path: str = "/v2/models/tiny/generate_stream") -> list[dict]:
        async with self.post(path, body) as response:
            assert response.status == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            raw = (await response.read()).decode()
        return [json.loads(event.removeprefix("data: ")) for event in raw.split("\n\n") if event]

    async def status(self, path: str) -> int:
        async with self.client.get(self.url + path) as response:
            return response.status

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def ended(self, outcome: str) -> float | None:
        return self.metric("weir_node_requests_total", outcome=outcome)

    @property
    def engine(self) -> Engine:
        return self.host.engines[0]


@asynccontextmanager
async def serve(home: Path, **settings) -> AsyncIterator[Node]:
    registry = CollectorRegistry()
    metrics = NodeMetrics(registry)
    chosen = NodeSettings(home=home, threads=2, **settings)
    host = ModelHost(chosen, metrics)
    app = NodeApp(host, metrics, max_body_bytes=chosen.max_body_bytes)
    config = uvicorn_config(app, connections("127.0.0.1"), drain_timeout_s=chosen.drain_timeout_s)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = listen("127.0.0.1", 0)
    await server.startup([listener])  # without the main loop, whose ticks and pauses would cost 0.2 s a test
    try:
        await host.load(home / "releases" / "tiny" / "1")
        async with aiohttp.ClientSession() as client:
            yield Node(f"http://127.0.0.1:{listener.getsockname()[1]}", host, registry, home, client)
    finally:
        for listening in server.servers:
            listening.close()
        listener.close()
        await host.aclose()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come true in time"
        await asyncio.sleep(0.001)
    return time.monotonic() - began


def body(prompt: str = PROMPTS[0], sampling: object = None, **fields) -> dict:
    return {"text_input": prompt, "sampling_parameters": sampling or {"max_tokens": 12, "ignore_eos": True}} | fields


def slow_down(engine: Engine, step_s: float = 0.01) -> None:
    run = engine._model.run

    def slow(*args, **kwargs):
        time.sleep(step_s)
        return run(*args, **kwargs)

    engine._model.run = slow
