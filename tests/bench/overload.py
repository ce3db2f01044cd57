"""The gateway at five times its nodes' capacity, over real HTTP: `python -m tests.bench.overload`. Prints Markdown.

A scripted node runs so many answers at once, lets a few more wait and refuses the rest, as Weir's CPU node does. It is
asked directly, as fast as it goes (capacity), then through the gateway with requests that arrive at random, five times
as many as it can take. Node and gateway are processes of their own; `--pin` gives the gateway core 0 and the rest core
1, and `chrt -f 10` before the command keeps other jobs out.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from tests.support.oip_node import OipNode, reply
from tests.support.ports import free_port
from tests.support.prompt_release import make_prompt_release
from weir.contracts.errors import OverloadedError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage

TOKENS = 8
STEP_S = 0.025


@dataclass
class Seen:
    """What clients saw in the measured part of a run; seconds."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    retry_after: set[str] = field(default_factory=set)
    control: list[float] = field(default_factory=list)  # /livez, asked all the while: what this machine adds
    odd: int = 0


class SmallNode(OipNode):
    """`slots` answers at once, `queue` wait, the rest is 429."""

    def __init__(self, slots: int, queue: int, *, says_slots: bool) -> None:
        super().__init__()
        self._slots = asyncio.Semaphore(slots)
        self._room = slots + queue
        self._metadata = json.dumps({"parameters": {"slots": slots}}).encode() if says_slots else b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            await reply(send, 200, self._metadata)
        else:
            await super().__call__(scope, receive, send)

    async def _play(self, body: dict[str, Any], send: Any) -> None:
        if not self._room:
            await OipNode((OverloadedError(1),))._play(body, send)
            return
        self._room -= 1
        try:
            async with self._slots:
                words = (step for _ in range(TOKENS) for step in (STEP_S, TokenChunk("word ")))
                await OipNode((*words, Finished(FinishReason.LENGTH, Usage(8, TOKENS))))._play(body, send)
        finally:
            self._room += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--load", type=float, default=5.0, help="times the capacity")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--says-slots", action="store_true", help="the node says how many it answers together")
    parser.add_argument("--pin", action="store_true", help="the gateway on core 0, node and clients on core 1")
    parser.add_argument("--node-port", type=int, default=0, help="only run the node")
    given = parser.parse_args()
    if given.node_port:
        node = SmallNode(given.slots, given.queue, says_slots=given.says_slots)
        uvicorn.run(node, port=given.node_port, log_level="error", access_log=False)
        return
    with tempfile.TemporaryDirectory(prefix="weir-overload-") as folder:
        release = make_prompt_release(Path(folder))
        node_port, port, admin_port = free_port(), free_port(), free_port()
        node = ("tests.bench.overload", "--node-port", str(node_port), "--slots", str(given.slots))
        node += ("--queue", str(given.queue), *(("--says-slots",) if given.says_slots else ()))
        weir = ("weir.gateway", "--node", f"http://127.0.0.1:{node_port}", "--release", str(release))
        weir += ("--port", str(port), "--admin-port", str(admin_port), "--log-level", "warning")
        if given.pin:
            os.sched_setaffinity(0, {1})
        with (
            process(*node),
            process(*weir, core=0 if given.pin else None),
        ):
            capacity, seen, metrics = asyncio.run(measured(given, node_port, port, admin_port))
    report(given, capacity, seen, metrics)


async def measured(given: argparse.Namespace, node_port: int, port: int, admin_port: int) -> tuple[float, Seen, str]:
    async with client() as session:
        await ready(session, f"http://127.0.0.1:{node_port}/v2/health/ready")
        await ready(session, f"http://127.0.0.1:{port}/readyz")
        capacity = await closed_loop(session, node_port, given.slots, given.seconds / 2)
        seen = await open_loop(session, port, given.load * capacity, given.seconds)
        async with session.get(f"http://127.0.0.1:{admin_port}/metrics") as response:
            return capacity, seen, await response.text()


async def closed_loop(session: aiohttp.ClientSession, port: int, workers: int, seconds: float) -> float:
    """Return answers per second of the node, asked by as many workers as it has slots."""
    done, end = 0, time.monotonic() + seconds
    sampling = {"max_tokens": TOKENS}
    body = {"id": "x", "text_input": "?", "stream": True, "return_tokens": False, "sampling_parameters": sampling}

    async def work() -> None:
        nonlocal done
        while time.monotonic() < end:
            url = f"http://127.0.0.1:{port}/v2/models/faq/generate_stream"
            async with session.post(url, json=body) as response:
                await response.read()
            done += time.monotonic() < end

    await asyncio.gather(*(work() for _ in range(workers)))
    return done / seconds


async def open_loop(session: aiohttp.ClientSession, port: int, rate: float, seconds: float) -> Seen:
    """Ask at `rate`, at random times, for twice `seconds`; the second half counts."""
    seen, tasks, dice = Seen(), set(), random.Random(1)
    controlling = asyncio.create_task(control(session, port, seen))
    began = time.monotonic()
    counted, next_at = began + seconds, began
    while (now := time.monotonic()) < began + 2 * seconds:
        if now < next_at:
            await asyncio.sleep(next_at - now)
            continue
        tasks.add(task := asyncio.create_task(ask(session, port, seen, counted, counted + seconds)))
        task.add_done_callback(tasks.discard)
        next_at += dice.expovariate(rate)
    tasks.add(controlling)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def control(session: aiohttp.ClientSession, port: int, seen: Seen) -> None:
    while True:
        await asyncio.sleep(0.02)
        began = time.monotonic()
        async with session.get(f"http://127.0.0.1:{port}/livez") as response:
            await response.read()
        seen.control.append(time.monotonic() - began)


async def ask(session: aiohttp.ClientSession, port: int, seen: Seen, since: float, until: float) -> None:
    body = {
        "inputs": "a question of the usual length, asked again and again?",
        "parameters": {"max_new_tokens": TOKENS},
    }
    began = time.monotonic()
    async with session.post(f"http://127.0.0.1:{port}/generate", json=body) as response:
        await response.read()
    ended = time.monotonic()
    if not since <= ended < until:
        return
    if response.status == 200:
        seen.answered.append(ended - began)
    elif response.status in {429, 503}:
        seen.refused.append(ended - began)
        seen.retry_after.add(response.headers["retry-after"])
    else:
        seen.odd += 1


def report(given: argparse.Namespace, capacity: float, seen: Seen, metrics: str) -> None:
    goodput = len(seen.answered) / given.seconds
    table = {
        "load": f"{given.load:g} ×",
        "capacity, 1/s": f"{capacity:.1f}",
        "goodput, 1/s": f"{goodput:.1f}",
        "of capacity": f"{100 * goodput / capacity:.0f} %",
        "answer p50 / p99, s": f"{quantile(seen.answered, 0.5):.2f} / {quantile(seen.answered, 0.99):.2f}",
        "refused": len(seen.refused),
        "refusal p50 / p99, ms": in_ms(seen.refused),
        "`/livez` p50 / p99, ms": in_ms(seen.control),
    }
    for row in (table.keys(), ["---"] * len(table), table.values()):
        print(f"| {' | '.join(map(str, row))} |")
    wanted = ("weir_gateway_wasted", "weir_gateway_admission_")
    lines = [line for line in metrics.splitlines() if line.startswith(wanted)]
    print(f"\nRetry-After: {json.dumps(sorted(seen.retry_after))}; other replies: {seen.odd}; {'; '.join(lines)}")


def in_ms(seconds: list[float]) -> str:
    return f"{1000 * quantile(seconds, 0.5):.1f} / {1000 * quantile(seconds, 0.99):.1f}"


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


@contextmanager
def process(*arguments: str, core: int | None = None) -> Iterator[None]:
    running = subprocess.Popen([sys.executable, "-m", *arguments])
    if core is not None:
        os.sched_setaffinity(running.pid, {core})
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(timeout=10)
        except subprocess.TimeoutExpired:
            running.kill()


@asynccontextmanager
async def client() -> AsyncGenerator[aiohttp.ClientSession, None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


async def ready(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(300):
        with suppress(aiohttp.ClientError):
            async with session.get(url) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise TimeoutError(url)


if __name__ == "__main__":
    main()
