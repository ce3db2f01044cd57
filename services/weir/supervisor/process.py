"""One child process that is kept alive."""

import asyncio
import ctypes
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from weir.contracts.errors import JobError

_BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_STEADY_S = 60.0  # a child that lived this long starts the back-off anew
_PR_SET_PDEATHSIG = 1
_USAGE_EXIT = 2


@dataclass(slots=True)
class Child:
    """Starts `arguments` with this Python, restarts it with back-off when it dies, ends it with SIGTERM.

    `is_ready` is asked until it says yes; `log` receives what the process prints.
    """

    name: str
    arguments: tuple[str, ...]
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    restarts: int = 0
    _process: asyncio.subprocess.Process | None = None
    _watcher: asyncio.Task[None] | None = None
    _stopping: bool = False
    _report: Callable[[str], None] = field(default=print)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self, *, timeout_s: float, report: Callable[[str], None]) -> None:
        """Start and wait until ready; from then on it is watched.

        Raises:
            JobError: it ended or was not ready in time; the message holds the end of its log.
        """
        self._report = report
        await self._spawn()
        await self._wait_ready(timeout_s)
        self._watcher = asyncio.create_task(self._watch(timeout_s), name=f"watch-{self.name}")

    async def stop(self, *, timeout_s: float) -> None:
        """SIGTERM, wait for its own draining, SIGKILL only after `timeout_s`."""
        self._stopping = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "weir",
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours: the children drain in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    async def _wait_ready(self, timeout_s: float) -> None:
        process = self._process
        if process is None:
            raise JobError(f"{self.name} was never started")
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            if process.returncode is not None:
                raise JobError(f"{self.name} ended with exit code {process.returncode}:\n{self._log_end()}")
            if await self.is_ready():
                return
            await asyncio.sleep(0.1)
        raise JobError(f"{self.name} was not ready within {timeout_s:.0f} s:\n{self._log_end()}")

    async def _watch(self, timeout_s: float) -> None:
        """Restart the process whenever it dies, for ever."""
        failures = 0
        while not self._stopping:
            process = self._process
            if process is None:
                return
            began = asyncio.get_running_loop().time()
            code = await process.wait()
            lived_s = asyncio.get_running_loop().time() - began
            failures = 0 if lived_s > _STEADY_S else failures + 1
            pause_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S)) - 1] if failures else _BACK_OFF_S[0]
            self._report(f"{self.name} died (exit code {code}); starting it again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            await self._restart(timeout_s)

    async def _restart(self, timeout_s: float) -> None:
        self.restarts += 1
        await self._spawn()
        try:
            await self._wait_ready(timeout_s)
        except JobError as error:
            self._report(str(error))
        else:
            self._report(f"{self.name} is back")

    def _log_end(self, lines: int = 12) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        return "\n".join(text.splitlines()[-lines:])


def _die_with_parent() -> None:
    """In the child, before exec: a supervisor killed with -9 takes its children along (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
