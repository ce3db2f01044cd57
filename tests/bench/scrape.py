"""How long a scrape holds up an event loop that streams: `python tests/bench/scrape.py [CHILDREN]`.

A ticker wakes every millisecond, as 48 streams of 20 tokens a second would; its worst delay is what a stream feels.
Compared in one run, interleaved: nothing, prometheus_client rendering in the loop and in a thread, and ours.
"""

import asyncio
import statistics
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter

import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from weir.telemetry.cells import Cells, keep_values_in
from weir.telemetry.exposition import Exposition
from weir.telemetry.metrics import GatewayMetrics

ROUNDS = 15


def filled(children: int) -> GatewayMetrics:
    metrics = GatewayMetrics(CollectorRegistry())
    for number in range(children):
        metrics.token_gap(f"model-{number}", "cpu").observe(0.02)
    return metrics


async def worst_delay_ms(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the ticker's worst delay while `work` runs, and how long that took."""
    delays: list[float] = []

    async def tick() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(0.001)
            delays.append(perf_counter() - began - 0.001)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    delays.clear()
    began = perf_counter()
    await work()
    took = perf_counter() - began
    await asyncio.sleep(0.005)
    ticker.cancel()
    return max(delays) * 1e3, took * 1e3


async def main(children: int) -> None:
    cells = Cells()
    keep_values_in(cells)
    metrics = filled(children)
    exposition = Exposition([cells])

    async def inline() -> bytes:
        return generate_latest(metrics.registry)

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "nothing (20 ms)": lambda: asyncio.sleep(0.02),
        "prometheus_client in the loop": inline,
        "prometheus_client in a thread": lambda: asyncio.to_thread(generate_latest, metrics.registry),
        "weir": exposition.rendered,
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            results[name].append(await worst_delay_ms(way))
    size = len(await exposition.rendered())
    print(f"{children} histogram children, {size / 1024:.0f} KiB of text; medians (worst) of {ROUNDS} rounds, ms")
    for name, rows in results.items():
        delays, times = zip(*rows, strict=True)
        print(
            f"{name:<32} worst delay of a tick {statistics.median(delays):6.1f} ({max(delays):.1f})"
            f"   scrape takes {statistics.median(times):6.1f}"
        )


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
