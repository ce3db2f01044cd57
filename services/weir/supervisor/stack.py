"""One node and one gateway on this machine: start in order, watch, drain in order."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from weir.supervisor.process import Child

LOOPBACK = "127.0.0.1"
_REACHED_AT = {"0.0.0.0": LOOPBACK, "::": "[::1]"}  # noqa: S104 - what a client on this machine puts into a URL
_NODE_START_S = 120.0
_GATEWAY_START_S = 60.0
_DRAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What `weir up` starts. Node and admin port listen on loopback whatever `host` says: they ask for no key."""

    release: Path
    home: Path
    host: str
    port: int
    admin_port: int
    node_port: int
    guard: Path | None = None
    flavour: str | None = None
    workers: int = 1
    allow_anonymous: bool = False
    embedders: tuple[Path, ...] = ()

    @property
    def url(self) -> str:
        return f"http://{_REACHED_AT.get(self.host, self.host)}:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://{LOOPBACK}:{self.admin_port}"

    @property
    def node_url(self) -> str:
        return f"http://{LOOPBACK}:{self.node_port}"


class Stack:
    """The two processes. `run` returns after SIGINT or SIGTERM, when both have drained."""

    def __init__(self, settings: StackSettings, report: Callable[[str], None]) -> None:
        self._settings = settings
        self._report = report
        self._stop = asyncio.Event()
        self.node = Child("cpu-0", _node_arguments(settings), settings.home / "logs" / "cpu-0.log", self._node_ready)
        self.gateway = Child(
            "gateway", _gateway_arguments(settings), settings.home / "logs" / "gateway.log", self._gateway_ready
        )

    async def run(self, when_ready: Callable[[], None]) -> None:
        """Serve until told to stop; `when_ready` is called once both answer.

        Raises:
            JobError: a process could not be started.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as self._http:
            try:
                started = asyncio.create_task(self._start())
                stopped = asyncio.create_task(self._stop.wait())
                await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if started.done():
                    started.result()
                    when_ready()
                    await stopped
                else:
                    started.cancel()
            finally:
                await self._drain()

    async def _start(self) -> None:
        await self.node.start(timeout_s=_NODE_START_S, report=self._report)
        await self.gateway.start(timeout_s=_GATEWAY_START_S, report=self._report)

    async def _drain(self) -> None:
        """Gateway first, so that what it promised is still answered by the node."""
        await self.gateway.stop(timeout_s=_DRAIN_S)
        await self.node.stop(timeout_s=_DRAIN_S)

    async def _node_ready(self) -> bool:
        return await self._answers(f"{self._settings.node_url}/v2/health/ready")

    async def _gateway_ready(self) -> bool:
        return await self._answers(f"{self._settings.url}/readyz")

    async def _answers(self, url: str) -> bool:
        try:
            async with self._http.get(url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


def _node_arguments(settings: StackSettings) -> tuple[str, ...]:
    flavour = ("--flavour", settings.flavour) if settings.flavour else ()
    home = ("--home", str(settings.home))
    releases = (str(settings.release), *map(str, settings.embedders))
    return ("node", *releases, "--host", LOOPBACK, "--port", str(settings.node_port), *home, *flavour)


def _gateway_arguments(settings: StackSettings) -> tuple[str, ...]:
    guard = ("--guard", str(settings.guard)) if settings.guard else ()
    where = ("--host", settings.host, "--port", str(settings.port), "--admin-port", str(settings.admin_port))
    how = ("--home", str(settings.home), "--workers", str(settings.workers))
    anyone = ("--allow-anonymous",) if settings.allow_anonymous else ()
    what = (
        "--release",
        str(settings.release),
        *(part for one in settings.embedders for part in ("--embedder", str(one))),
    )
    return ("serve", *what, "--node", settings.node_url, *where, *how, *anyone, *guard)
