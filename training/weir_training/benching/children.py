"""Child processes of a benchmark: none outlives it, however it ends."""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import JobError

_PR_SET_PDEATHSIG: Final = 1
_TAIL_LINES: Final = 8
_END_S: Final = 10.0


def spawn(
    command: Sequence[str | Path], log: Path, *, environment: Mapping[str, str] | None = None, pipes: bool = False
) -> subprocess.Popen[str]:
    """Start a child whose chatter goes to `log`; with `pipes` its input and output are ours.

    It gets no Ctrl-C of the terminal (we end it ourselves), and dies with us where the kernel can do that.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else errors,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},  # noqa: TID251  a child inherits what we were given
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  two system calls only
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end(process: subprocess.Popen[str], *, patience_s: float = _END_S) -> None:
    """SIGTERM to the child and all it started; SIGKILL to what is left when it ended, or did not in time."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _signal_group(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, sign)


def finish(process: subprocess.Popen[str], what: str, log: Path, *, timeout_s: float) -> None:
    """Wait for a child's end.

    Raises:
        JobError: it failed or took longer than `timeout_s`; the message holds the end of its log.
    """
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise JobError(f"{what}: not done after {timeout_s:.0f} s (log: {log})") from None
    finally:
        end(process)
    if code != 0:
        raise JobError(f"{what}: exit code {code} (log: {log})\n{tail(log)}")


def tail(log: Path) -> str:
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=_TAIL_LINES)).strip()
    except OSError:
        return ""


class LineChild:
    """A worker that answers lines of JSON (`workers.lines`)."""

    def __init__(self, command: Sequence[str | Path], log: Path, *, environment: Mapping[str, str]) -> None:
        self._log = log
        self._process = spawn(command, log, environment=environment, pipes=True)
        self._buffer = b""
        self.rss_bytes = 0

    def ask(self, op: str, *, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Send one order and wait for its answer.

        Raises:
            JobError: the worker answered with an error, died, or did not answer within `timeout_s`.
        """
        if self._process.stdin is None:
            raise JobError("a worker without a pipe")
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._line(op, timeout_s))
        except (BrokenPipeError, ValueError) as error:
            raise JobError(f"{op}: the worker is gone (log: {self._log})\n{tail(self._log)}") from error
        self.rss_bytes = answer.pop("rss_bytes", 0)
        if "error" in answer:
            raise JobError(f"{op}: {answer['error']}")
        return answer

    def close(self) -> None:
        end(self._process)

    def _line(self, op: str, timeout_s: float) -> bytes:
        """Read up to the next newline, from the descriptor itself: a buffered reader knows no timeout."""
        if self._process.stdout is None:
            raise JobError("a worker without a pipe")
        descriptor = self._process.stdout.fileno()
        until = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise JobError(f"{op}: no answer within {timeout_s:.0f} s (log: {self._log})")
                read = os.read(descriptor, 1 << 16)
                if not read:
                    raise JobError(f"{op}: the worker ended (log: {self._log})\n{tail(self._log)}")
                self._buffer += read
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line
