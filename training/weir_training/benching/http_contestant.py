"""A server as a contestant: started on this machine, asked over HTTP in its own protocol."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from weir.contracts.errors import JobError
from weir_training.benching.children import end, spawn, tail
from weir_training.benching.contestants import Label
from weir_training.benching.workers.lines import rss_bytes
from weir_training.benching.workers.pace import Answer, at_their_times

if TYPE_CHECKING:
    import aiohttp

_READY_S: Final = 300.0
_ASK_S: Final = 900.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a server is asked for a stream, and how it counts.

    `body` makes the JSON of a request; `count` returns the tokens so far, given the count before and an event.
    """

    ready: str
    path: str
    body: Callable[[Mapping[str, Any]], dict[str, Any]]
    count: Callable[[int, dict[str, Any]], int]


class HttpContestant:
    """A server process on a free port of the loopback interface; `command` is told the port."""

    def __init__(
        self,
        label: Label,
        command: Callable[[int], Sequence[str | Path]],
        protocol: Protocol,
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.label = label
        self.rss_bytes = 0
        self._command = command
        self._protocol = protocol
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    def open(self) -> None:
        """Start it and wait until it says that it is ready.

        Raises:
            JobError: it ended, or was not ready in time.
        """
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._process = spawn(self._command(port), self._log, environment=self._environment)
        asyncio.run(self._wait_ready(self._process))

    def trace(self, requests: Sequence[Mapping[str, Any]], *, at_once: int | None) -> list[list[float]]:
        """As `PipeContestant.trace`, over HTTP; the client shares the machine with the server."""
        answers = asyncio.run(self._trace(requests, at_once))
        if self._process is not None:
            self.rss_bytes = rss_bytes(self._process.pid)
        return [list(answer) for answer in answers]

    def close(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None

    async def _wait_ready(self, process: subprocess.Popen[str]) -> None:
        import aiohttp

        until = time.monotonic() + _READY_S
        async with aiohttp.ClientSession(self._url) as session:
            while time.monotonic() < until:
                if process.poll() is not None:
                    raise JobError(f"{self.label.name}: the server ended (log: {self._log})\n{tail(self._log)}")
                try:
                    async with session.get(self._protocol.ready) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(_POLL_S)
        raise JobError(f"{self.label.name}: not ready after {_READY_S:.0f} s (log: {self._log})")

    async def _trace(self, requests: Sequence[Mapping[str, Any]], at_once: int | None) -> list[Answer]:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_ASK_S)
        connector = aiohttp.TCPConnector(limit=0)
        try:
            async with aiohttp.ClientSession(self._url, timeout=timeout, connector=connector) as session:
                ask = self._asker(session)
                return await at_their_times([dict(request) for request in requests], ask, at_once=at_once)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise JobError(f"{self.label.name}: {str(error) or 'no answer in time'} (log: {self._log})") from error

    def _asker(self, session: "aiohttp.ClientSession") -> Callable[[dict[str, Any]], Any]:
        async def ask(request: dict[str, Any]) -> Answer:
            began, first, last, tokens = time.perf_counter(), 0.0, 0.0, 0
            async with session.post(self._protocol.path, json=self._protocol.body(request)) as response:
                if response.status != 200:
                    raise JobError(f"{self.label.name} answered {response.status}: {(await response.text())[:200]}")
                async for line in response.content:
                    if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
                        continue
                    now, before = time.perf_counter() - began, tokens
                    tokens = self._protocol.count(tokens, json.loads(line[5:]))
                    if tokens > before:
                        first, last = first or now, now
            return Answer(first, last, tokens)

        return ask


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
