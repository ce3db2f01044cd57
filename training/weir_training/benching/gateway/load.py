"""The load generator, in a process of its own: reads one order as JSON, writes its figures as JSON.

`python -m weir_training.benching.gateway.load '{"mode": "latency", ...}'`
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

from weir.contracts.errors import WeirError
from weir_training.benching.gateway.client import Call, Connection, call, scrape_call, sent_at, text_of
from weir_training.benching.gateway.script import mark, moment, under_way_s
from weir_training.benching.trace import quantile

_WARM_UP = 50
_STALL_INTERVALS = 10
_SCRAPE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to ask. `form`: tgi, openai or oip (a node itself)."""

    name: str
    url: str
    form: str
    key: str | None = None

    def call(self, *, tokens: int, size: int, stream: bool, interval_s: float = 0.0) -> Call:
        text = text_of(size, mark(interval_s))
        body: dict[str, object]
        if self.form == "tgi":
            body = {"inputs": text, "parameters": {"max_new_tokens": tokens}, "stream": stream}
        elif self.form == "openai":
            messages = [{"role": "user", "content": text}]
            body = {"model": "bench", "messages": messages, "max_tokens": tokens, "stream": stream}
        else:
            body = {"text_input": text, "sampling_parameters": {"max_tokens": tokens}, "return_tokens": stream}
        return call(self.url, body, self.key)


async def latency(targets: Sequence[Target], *, requests: int, tokens: int, size: int, stream: bool) -> dict[str, Any]:
    """Ask all in turn, one at a time; ms to the whole answer, or to a stream's first token."""
    calls = [target.call(tokens=tokens, size=size, stream=stream) for target in targets]
    connections = [await Connection.open(one) for one in calls]
    seconds: list[list[float]] = [[] for _ in targets]
    for number in range(requests + _WARM_UP):
        for which, (connection, one) in enumerate(zip(connections, calls, strict=True)):
            first: list[float] = []

            def on_data(data: bytes, first: list[float] = first) -> None:
                if not first and sent_at(data):
                    first.append(time.perf_counter())

            began = time.perf_counter()
            await connection.ask(one.raw, on_data if stream else None)
            if number >= _WARM_UP:
                seconds[which].append((first[0] if stream else time.perf_counter()) - began)
    for connection in connections:
        connection.close()
    return {target.name: _spread(taken) for target, taken in zip(targets, seconds, strict=True)}


async def rate(target: Target, *, seconds: float, users: int, tokens: int, size: int, stream: bool) -> dict[str, Any]:
    """Ask with `users` clients, each again as soon as it was answered."""
    one = target.call(tokens=tokens, size=size, stream=stream)
    connections = [await Connection.open(one) for _ in range(users)]
    for connection in connections:
        await connection.ask(one.raw)
    answered = 0
    began = time.perf_counter()

    async def client(connection: Connection) -> None:
        nonlocal answered
        while time.perf_counter() - began < seconds:
            await connection.ask(one.raw)
            answered += 1

    await asyncio.gather(*map(client, connections))
    taken_s = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return {"requests": answered, "seconds": taken_s}


@dataclass(slots=True)
class _Streams:
    """What arrived at all paced streams together; times in seconds."""

    under_way: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    stalled: set[int] = field(default_factory=set)
    failed: int = 0


async def paced(
    target: Target, *, streams: int, seconds: float, fps: float, size: int, scrape: str | None = None
) -> dict[str, Any]:
    """Run `streams` answers at once, begun within one second; how long their tokens were under way."""
    interval_s = 1 / fps
    tokens = round(seconds * fps)
    seen = _Streams()

    async def run(number: int) -> None:
        one = target.call(tokens=tokens, size=size, stream=True, interval_s=interval_s)
        connection = await Connection.open(one)
        await asyncio.sleep(number / streams)
        began = time.perf_counter()
        has_begun = False

        def on_data(data: bytes) -> None:
            nonlocal has_begun
            now = moment()
            late = [under_way_s(sent, now) for sent in sent_at(data)]
            if late and not has_begun:
                has_begun = True
                seen.first.append(time.perf_counter() - began - interval_s)
            seen.under_way.extend(late)
            if any(one > _STALL_INTERVALS * interval_s for one in late):
                seen.stalled.add(number)

        try:
            async with asyncio.timeout(3 * seconds + 10):
                await connection.ask(one.raw, on_data)
        except (WeirError, OSError, TimeoutError):
            seen.failed += 1
            seen.stalled.discard(number)  # counted once
        finally:
            connection.close()

    began = time.perf_counter()
    scraping = asyncio.create_task(_scraped(scrape)) if scrape else None
    await asyncio.gather(*map(run, range(streams)))
    if scraping is not None:
        scraping.cancel()
        await asyncio.gather(scraping, return_exceptions=True)
    return {
        "under_way": _spread(seen.under_way),
        "first": _spread(seen.first),
        "stalled": len(seen.stalled),
        "failed": seen.failed,
        "tokens": len(seen.under_way),
        "seconds": time.perf_counter() - began,
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    """Return what is asked of a list of times, in ms."""
    ordered = sorted(seconds) or [math.nan]
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: 1e3 * quantile(ordered, share) for name, share in shares.items()}


async def _scraped(url: str) -> None:
    one = scrape_call(url)
    connection = await Connection.open(one)
    try:
        while True:
            await asyncio.sleep(_SCRAPE_EVERY_S)
            await connection.ask(one.raw)
    finally:
        connection.close()


def main(text: str) -> None:
    """Run one order; the last line of standard output is the answer."""
    given = json.loads(text)
    mode = given.pop("mode")
    targets = [Target(**one) for one in given.pop("targets")]
    if mode == "latency":
        work = latency(targets, **given)
    elif mode == "rate":
        work = rate(targets[0], **given)
    else:
        work = paced(targets[0], **given)
    sys.stdout.write(json.dumps(uvloop.run(work)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
