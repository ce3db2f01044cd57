"""What the second tier costs: a classifier's time per text, alone and over HTTP, and how long `block` holds a token.

`chrt -f 10 python -m tests.bench.second_tier RELEASE`; RELEASE is a classifier's folder.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry

from weir.asgi.listen import listen
from weir.backends.classifier import HttpClassifier
from weir.cpu_node.app import NodeApp, connections
from weir.cpu_node.models import ModelHost
from weir.cpu_node.server import uvicorn_config
from weir.cpu_node.settings import NodeSettings
from weir.engine.classifier import load_classifier
from weir.telemetry.node_metrics import NodeMetrics

_TEXT = "Where is my order 20261125-0042? It should have arrived on Tuesday. 我的快递到哪里了？"
_SIZES = (60, 400, 1000, 8000)
_ROUNDS = 300


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    root = parser.parse_args().release
    classifier = load_classifier(root)
    for size in _SIZES:
        text = (_TEXT * (size // len(_TEXT) + 1))[:size]
        _tell(f"engine, {size} characters", await _timed(lambda text=text: classifier.scores([text])))
    await classifier.stop()
    async with _node(root) as url, aclosing(HttpClassifier(url, classifier.info.model)) as client:
        for size in _SIZES:
            text = (_TEXT * (size // len(_TEXT) + 1))[:size]
            _tell(
                f"node over HTTP, {size} characters", await _timed(lambda text=text: client.scored([text], timeout_s=5))
            )
        began, count = time.perf_counter(), 2000
        gate = asyncio.Semaphore(32)

        async def one() -> None:
            async with gate:
                await client.scored([_TEXT], timeout_s=5)

        await asyncio.gather(*(one() for _ in range(count)))
        print(f"32 at once: {count / (time.perf_counter() - began):.0f} prompts/s (client in the same process)")


async def _timed(ask: Callable[[], Awaitable[object]]) -> list[float]:
    for _ in range(20):
        await ask()
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - began)
    return seconds


def _tell(what: str, seconds: Sequence[float]) -> None:
    cuts = statistics.quantiles(seconds, n=100)
    print(f"{what}: p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms")


@asynccontextmanager
async def _node(root: Path) -> AsyncIterator[str]:
    metrics = NodeMetrics(CollectorRegistry())
    host = ModelHost(NodeSettings(home=root.parents[2]), metrics)
    config = uvicorn_config(NodeApp(host, metrics, max_body_bytes=1 << 20), connections("127.0.0.1"), drain_timeout_s=1)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = listen("127.0.0.1", 0)
    await server.startup([listener])
    try:
        await host.load(root)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for listening in server.servers:
            listening.close()
        listener.close()
        await host.aclose()


if __name__ == "__main__":
    asyncio.run(main())
