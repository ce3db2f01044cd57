"""What tracing costs the gateway: `python -m tests.bench.tracing [ROUNDS]`.

One request is a POST over ASGI through the whole gateway to a scripted node, 16 tokens streamed. CPU seconds of the
process count, so the thread that sends spans does too; a collector in a process of its own takes them. The ways are
interleaved; the median of the rounds is printed, with the least and the most.
"""

import asyncio
import json
import statistics
import sys
import tempfile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import process_time
from typing import Any

import uvloop

from tests.support.collector import collector
from tests.support.gateway import answer, build_app
from tests.support.prompt_release import make_prompt_release
from weir.backends.scripted import ScriptedBackend
from weir.gateway.app import GatewayApp

REQUESTS = 400
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
BODY = json.dumps({"inputs": "How do I return an order?", "parameters": {"max_new_tokens": 16}}).encode()


async def ask(app: GatewayApp, headers: list[tuple[bytes, bytes]]) -> None:
    given = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY)), *headers]
    scope = {"type": "http", "method": "POST", "path": "/generate_stream", "scheme": "http", "headers": given}
    waiting = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.Future()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200

    await app(scope, receive, send)


async def measured(app: GatewayApp, headers: list[tuple[bytes, bytes]]) -> float:
    """Return CPU microseconds per request."""
    began = process_time()
    for _ in range(REQUESTS):
        await ask(app, headers)
    await asyncio.sleep(0.05)  # what is counted and sent later belongs to it
    return (process_time() - began) / REQUESTS * 1e6


async def main(url: str, release: Path, rounds: int) -> None:
    def app(**tracing: Any) -> GatewayApp:
        backend = ScriptedBackend(answer(*["word "] * 16))
        return build_app(release, [backend], **({"tracing": {"endpoint": url, **tracing}} if tracing else {}))

    def header(flag: bytes) -> list[tuple[bytes, bytes]]:
        return [(b"traceparent", b"00-" + TRACE.encode() + b"-" + flag)]

    on = app(sample_ratio=0.0)
    ways = {
        "off": (app(), []),
        "off, the caller sends a traceparent": (app(), header(b"01")),
        "on, not sampled": (on, []),
        "on, sampled": (on, header(b"01")),
    }
    for chosen, _ in ways.values():
        await chosen.service.router.start()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (chosen, headers) in ways.items():
            cost = await measured(chosen, headers)
            found[name] += [cost] if number else []  # the first round warms up
    for name, costs in found.items():
        print(f"{name:<38} {statistics.median(costs):7.1f} us  ({min(costs):.1f} - {max(costs):.1f})")


def _collect(pipe: Connection) -> None:
    with collector() as spans:
        pipe.send(spans.url)
        pipe.recv()
        pipe.send(len(spans.spans))


if __name__ == "__main__":
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_collect, args=(theirs,))
    process.start()
    with tempfile.TemporaryDirectory() as folder:
        given = int(sys.argv[1]) if len(sys.argv) > 1 else 9
        uvloop.run(main(ours.recv(), make_prompt_release(Path(folder)), given))
    ours.send("end")
    print(f"{ours.recv()} spans came")
    process.join()
