"""Several workers behind one listening socket, and the process that starts them again when they die.

The supervisor has no event loop and no threads, so that it may fork at any time. Workers share one socket: whichever
is free takes the next connection, and what waits in its queue outlives any of them.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from weir.contracts.errors import WeirError
from weir.telemetry.cells import Cells
from weir.telemetry.exposition import depart

_log = logging.getLogger(__name__)
_BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_STEADY_S = 60.0  # a worker that lived this long starts the back-off anew
_GRACE_S = 10.0  # beyond its own drain, before SIGKILL
_TICK_S = 0.2
_PR_SET_PDEATHSIG = 1
_HEARD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


@dataclass(frozen=True, slots=True)
class Roles:
    """What the forked processes do; each returns when it was told to leave.

    `worker` writes its metrics into the cells it gets; `admin` reads those of all, and of those that ended.
    """

    worker: Callable[[Cells], None]
    admin: Callable[[Sequence[Cells], Cells], None] | None


def supervise(roles: Roles, workers: int, *, patience_s: float) -> int:
    """Keep `workers` running until SIGTERM or SIGINT and `patience_s` at most after it; return the exit code."""
    return _Supervisor(roles, workers, patience_s).run()


@dataclass(slots=True)
class _Child:
    """One place for a process, and who holds it now."""

    name: str
    work: Callable[[], None]
    cells: Cells | None = None
    pid: int | None = None
    began: float = 0.0
    failures: int = 0
    due: float | None = field(default=0.0)  # when to start; none: it runs, or will not any more

    @property
    def was_up(self) -> bool:
        return self.cells is None or self.cells.is_up


class _Supervisor:
    def __init__(self, roles: Roles, workers: int, patience_s: float) -> None:
        self._departed = Cells()
        cells = [Cells() for _ in range(workers)]
        self._workers = [_worker(number, roles, own) for number, own in enumerate(cells)]
        self._admins: list[_Child] = []
        if (admin := roles.admin) is not None:
            self._admins.append(_Child("admin", lambda: admin(cells, self._departed)))
        self._patience_s = patience_s + _GRACE_S
        self._stop_at: float | None = None
        self._code = 0
        self._has_served = False

    def run(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        while not (self._stop_at is not None and all(child.pid is None for child in self._workers)):
            self._start_what_is_due()
            heard = signal.sigtimedwait(_HEARD, _TICK_S)
            if heard is not None:
                self._heed(signal.Signals(heard.si_signo))
            self._reap()
            self._has_served = self._has_served or any(child.was_up for child in self._workers)
            self._end_what_is_late()
        self._end_admin()
        return self._code

    def _start_what_is_due(self) -> None:
        for child in (*self._workers, *self._admins):
            if child.due is not None and child.due <= monotonic() and self._stop_at is None:
                child.began, child.due = monotonic(), None
                child.pid = _forked(child.work)
                _log.info("started", extra={"child": child.name, "pid": child.pid})

    def _heed(self, heard: signal.Signals) -> None:
        match heard:
            case signal.SIGTERM | signal.SIGINT:
                self._leave()
            case signal.SIGHUP:
                self._tell(signal.SIGHUP)
            case _:
                pass

    def _leave(self) -> None:
        self._stop_at = self._stop_at or monotonic() + self._patience_s
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._workers:
            if child.pid is not None:
                os.kill(child.pid, number)

    def _reap(self) -> None:
        for child in (*self._workers, *self._admins):
            if child.pid is not None:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        child.pid, was_up = None, child.was_up
        if child.cells is not None:
            depart(child.cells, self._departed)
        if self._stop_at is not None:
            return
        if not was_up and not self._has_served:
            self._code = code if code > 0 else 1  # what one cannot do from the start, none can
            self._leave()
            return
        child.failures = 0 if monotonic() - child.began > _STEADY_S else child.failures + 1
        pause_s = _BACK_OFF_S[min(child.failures, len(_BACK_OFF_S) - 1)]
        child.due = monotonic() + pause_s
        _log.error("died", extra={"child": child.name, "exit_code": code, "again_in_s": pause_s})

    def _end_what_is_late(self) -> None:
        if self._stop_at is not None and monotonic() > self._stop_at:
            self._tell(signal.SIGKILL)

    def _end_admin(self) -> None:
        for child in self._admins:
            if child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)  # it holds nothing
                os.waitpid(child.pid, 0)


def _worker(number: int, roles: Roles, cells: Cells) -> _Child:
    return _Child(f"worker-{number}", lambda: roles.worker(cells), cells)


def _forked(work: Callable[[], None]) -> int:
    """Run `work` in a new process; return its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the supervisor alone decides
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        work()
        code = 0
    except WeirError as error:
        sys.stderr.write(f"weir: {error}\n")
        code = error.exit_code
    except BaseException:
        _log.exception("process_failed")
        raise
    finally:
        logging.shutdown()  # what was logged last may not be written yet
        sys.stderr.flush()
        os._exit(code)


def _die_with_parent() -> None:
    """A supervisor killed with -9 takes its workers along; they drain (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
