"""Streaming load from callers that go elsewhere when a gateway leaves, and what became of each request."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import aiohttp

_POLL_S = 0.1
_FIND_A_GATEWAY_S = 15.0


class Outcome(StrEnum):
    """What became of one request."""

    COMPLETE = "complete"  # the whole answer, with its last event
    CUT = "cut, and told so"  # it had begun; an error in the stream's own form ended it
    FAILED = "refused by a typed error after it was taken"  # not streamed: a 5xx with an error body
    REFUSED = "not taken"  # 429 or 503, or no gateway was ready: nothing was lost but time
    LOST = "lost"  # taken, and then neither an answer nor an error


@dataclass
class Tally:
    """Counts, and the longest wait for a gateway."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    went_elsewhere: int = 0
    events: int = 0

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes[outcome]

    def add(self, outcome: Outcome, reason: str = "") -> None:
        self.outcomes[outcome] += 1
        if reason:
            self.reasons[f"{outcome}: {reason}"[:200]] += 1

    def text(self) -> str:
        lines = [f"{outcome}: {self.outcomes[outcome]}" for outcome in Outcome]
        lines += [f"  {count} x {reason}" for reason, count in self.reasons.most_common(12)]
        return "\n".join(
            [*lines, f"tried again elsewhere or later: {self.went_elsewhere}", f"events read: {self.events}"]
        )


@dataclass
class Callers:
    """Sends prompts at random moments, `per_second` on average, to whichever of `urls` was ready last.

    Every fifth request is not streamed. A gateway that refuses the connection, or says 503, has not taken the request.
    """

    urls: Sequence[str]
    prompt: Callable[[], str]
    per_second: float
    max_new_tokens: int = 64
    timeout_s: float = 60.0
    tally: Tally = field(default_factory=Tally)
    _ready: dict[str, bool] = field(default_factory=dict)

    async def run(self, seconds: float) -> Tally:
        deadline = time.monotonic() + seconds
        return await self.run_while(lambda: time.monotonic() < deadline)

    async def run_while(self, goes_on: Callable[[], bool]) -> Tally:
        """Send for so long, then wait for what is still running."""
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        connector = aiohttp.TCPConnector(limit=0)
        running: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            watch = asyncio.create_task(self._watch(session))
            number = 0
            while goes_on():
                await asyncio.sleep(random.expovariate(self.per_second))
                task = asyncio.create_task(self._call(session, is_stream=number % 5 != 4))
                running.add(task)
                task.add_done_callback(running.discard)
                number += 1
            if running:
                await asyncio.wait(running, timeout=self.timeout_s)
            for task in running:
                task.cancel()
                self.tally.add(Outcome.LOST, "no end within the time")
            watch.cancel()
        return self.tally

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.gather(*(self._ask_ready(session, url) for url in self.urls))
            await asyncio.sleep(_POLL_S)

    async def _ask_ready(self, session: aiohttp.ClientSession, url: str) -> None:
        try:
            async with session.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(total=5)) as response:
                self._ready[url] = response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            self._ready[url] = False

    async def _call(self, session: aiohttp.ClientSession, *, is_stream: bool) -> None:
        deadline = time.monotonic() + _FIND_A_GATEWAY_S
        body = {"inputs": self.prompt(), "parameters": {"max_new_tokens": self.max_new_tokens}, "stream": is_stream}
        why = "no gateway was ready"
        while time.monotonic() < deadline:
            url = random.choice([url for url, ready in self._ready.items() if ready] or [""])
            if url:
                why = await self._try(session, url, body, is_stream=is_stream)
                if not why:
                    return
                self.tally.went_elsewhere += 1
            await asyncio.sleep(_POLL_S)
        self.tally.add(Outcome.REFUSED, why)

    async def _try(self, session: aiohttp.ClientSession, url: str, body: object, *, is_stream: bool) -> str:
        """Return why the request was not taken; nothing when it was, however it ended."""
        is_taken = False
        try:
            async with session.post(f"{url}/", json=body) as response:
                if response.status in {429, 503}:
                    return f"{response.status} {(await response.text())[:80]}"
                is_taken = True
                if response.status != 200:
                    error = (await response.json())["error_type"]
                    self.tally.add(Outcome.FAILED, f"{response.status} {error}")
                elif is_stream:
                    self.tally.add(*await self._read(response))
                else:
                    await response.json()
                    self.tally.add(Outcome.COMPLETE)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectorError, ConnectionResetError) as error:
            if not is_taken:
                return type(error).__name__
            self.tally.add(Outcome.LOST, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer did not come
            self.tally.add(Outcome.LOST, type(error).__name__)
        return ""

    async def _read(self, response: aiohttp.ClientResponse) -> tuple[Outcome, str]:
        last: dict[str, object] = {}
        async for line in response.content:
            if line.startswith(b"data:"):
                last = json.loads(line[5:])
                self.tally.events += 1
        if last.get("generated_text") is not None:
            return Outcome.COMPLETE, ""
        if "error" in last:
            return Outcome.CUT, str(last["error_type"])
        return Outcome.LOST, "the stream ended without its last event"
