"""A tiny embedder, really exported and really served."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from tests.support.gateway import running
from weir.cpu_node.app import NodeApp
from weir.cpu_node.models import ModelHost
from weir.cpu_node.settings import NodeSettings
from weir.telemetry.node_metrics import NodeMetrics

if TYPE_CHECKING:
    from weir_training.embedder.release import Exported


def export_tiny(home: Path, *, name: str = "tiny-embed") -> "Exported":
    """Make a tiny encoder and publish it below `home`; a few seconds."""
    # Here: torch takes seconds, and not every test of a module that imports this needs it.
    from tests.support.tiny_encoder import make_tiny_encoder
    from weir_training.embedder.release import export_and_publish

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
