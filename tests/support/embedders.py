"""A tiny embedder, really exported and really served, and one that answers as a test says."""

import asyncio
import base64
import json
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from tests.support.asgi import live
from tests.support.gateway import running
from tests.support.oip_node import body_of, reply
from tests.support.tiny_encoder import make_tiny_encoder
from weir.cpu_node.app import NodeApp
from weir.cpu_node.models import ModelHost
from weir.cpu_node.settings import NodeSettings
from weir.oip.embed import Embedded
from weir.telemetry.node_metrics import NodeMetrics
from weir_training.embedder.release import Exported, export_and_publish


def export_tiny(home: Path, *, name: str = "tiny-embed") -> Exported:
    """Make a tiny encoder and publish it below `home`; a few seconds."""
    checkpoint = make_tiny_encoder(home / "checkpoint")
    return export_and_publish(checkpoint, name, home, repository=home / "model_repository")


@dataclass
class EmbedderNode:
    """A node that serves one embedder; `metric` reads one sample."""

    url: str
    host: ModelHost
    metrics: NodeMetrics

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"weir_node_{name}", labels) or 0.0


@contextmanager
def embedder_node(home: Path, *roots: Path) -> Generator[EmbedderNode]:
    """Serve releases in a thread."""
    metrics = NodeMetrics(CollectorRegistry())
    host = ModelHost(NodeSettings(home=home, port=0), metrics)
    for root in roots:
        asyncio.run(host.load(root))
    with running(NodeApp(host, metrics, max_body_bytes=1 << 22)) as port:
        yield EmbedderNode(f"http://127.0.0.1:{port}", host, metrics)


class ScriptedEmbedder:
    """A vector whose first number is the row's length, `delay_s` after it was asked, or `error`."""

    def __init__(self, dimensions: int = 48) -> None:
        self.dimensions = dimensions
        self.is_ready = True
        self.delay_s = 0.0
        self.error: Exception | None = None
        self.asked: list[tuple[tuple[int, ...], ...]] = []
        self.cancelled = 0

    async def embedded(self, rows: Sequence[Sequence[int]], *, timeout_s: float) -> Embedded:
        del timeout_s
        self.asked.append(tuple(map(tuple, rows)))
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return Embedded(tuple(packed(len(row), self.dimensions) for row in rows), self.dimensions)

    async def ready(self) -> bool:
        return self.is_ready

    async def aclose(self) -> None: ...


def packed(first: float, dimensions: int) -> str:
    """A vector as nodes send it: `first`, and zeros."""
    return base64.b64encode(struct.pack(f"<{dimensions}f", first, *[0.0] * (dimensions - 1))).decode()


class EmbedderPeer:
    """An ASGI app that speaks as a node with an embedder, without one; the first number of a vector is its `mark`."""

    def __init__(self, mark: float, dimensions: int = 48) -> None:
        self.mark = mark
        self.dimensions = dimensions
        self.is_ready = True
        self.is_broken = False  # it says that it is ready, and fails
        self.delay_s = 0.0
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["method"] == "GET":
            await reply(send, 200 if self.is_ready else 503)
        else:
            lengths = json.loads(await body_of(receive))["inputs"][1]["data"]
            self.asked += 1
            await asyncio.sleep(self.delay_s)
            rows = [packed(self.mark, self.dimensions) for _ in lengths]
            output = {"name": "embedding", "datatype": "FP32", "shape": [len(rows), self.dimensions], "data": rows}
            status = 500 if self.is_broken else 200 if self.is_ready else 503
            await reply(send, status, json.dumps({"outputs": [output]}).encode())
