"""What classifiers and embedders share: a graph on onnxruntime, and jobs that wait for the thread it runs in."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import onnxruntime as ort

from weir.contracts.errors import BackendError, BackendUnavailableError, ReleaseError

_log = logging.getLogger("weir.engine")
_QUIET: Final = 3
T = TypeVar("T")


class BatchObserver(Protocol):
    """Told of every run; it must not block."""

    def batch_scored(self, windows: int, seconds: float) -> None: ...


class Job(Protocol):
    """What somebody waits for."""

    @property
    def done(self) -> asyncio.Future[Any]: ...


J = TypeVar("J", bound=Job)


def open_graph(path: Path, *, threads: int) -> ort.InferenceSession:
    """Load a graph for the CPU.

    Raises:
        ReleaseError: onnxruntime does not.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise ReleaseError(f"{path.name}: onnxruntime does not load this graph: {error}") from error


class Batched(ABC, Generic[J]):
    """Works off jobs, some at a time. Belongs to one event loop, but computes in a thread of its own."""

    def __init__(self, what: str, model: str) -> None:
        """`what`: the kind of model, as errors and threads call it."""
        self._what = what
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{what}-{model}")
        self._jobs: deque[J] = deque()
        self._work: asyncio.Task[None] | None = None
        self._accepting = True

    @property
    def ready(self) -> bool:
        return self._accepting

    async def stop(self, *, drain_s: float = 0.0) -> None:
        """Let nobody in, give what waits `drain_s` seconds, and end the thread."""
        self._accepting = False
        if self._work is not None and not self._work.done():
            await asyncio.wait({self._work}, timeout=drain_s)
        self._fail(self._stopped())
        self._thread.shutdown(wait=False, cancel_futures=True)

    @abstractmethod
    async def _turn(self) -> None:
        """Compute something for some of the jobs, and let go of those that are done."""

    async def _computed(self, call: Callable[..., T], *given: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *given)

    def _begin(self, job: J) -> None:
        self._jobs.append(job)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())

    def _stopped(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"the {self._what} is being stopped")

    async def _run(self) -> None:
        while self._jobs:
            try:
                await self._turn()
            except Exception:  # noqa: BLE001 - whatever it is: the next batch may go well
                _log.exception("%s_failed", self._what)
                self._fail(BackendError(f"the {self._what} failed"))
                return

    def _fail(self, error: Exception) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            if not job.done.done():
                job.done.set_exception(error)
