"""What a gateway process says of itself, a few times a second."""

import asyncio
import contextlib
import os
import resource
from pathlib import Path
from time import monotonic
from typing import Final

from weir.telemetry.metrics import GatewayMetrics

_BEAT_S: Final = 0.2
_BEATS_PER_LOOK: Final = 10
_SELF: Final = Path("/proc/self")  # where there is none, memory and files stay at 0
_PAGE_BYTES: Final = resource.getpagesize()


class Pulse:
    """Folds what no generation brings with it (refusals, for instance): other processes read the metrics."""

    def __init__(self, metrics: GatewayMetrics) -> None:
        self._metrics = metrics
        self._cpu_s = 0.0

    async def beat(self) -> None:
        """Beat until cancelled."""
        self._metrics.processes.set(1)
        while True:
            self._look()
            for _ in range(_BEATS_PER_LOOK):
                due = monotonic() + _BEAT_S
                await asyncio.sleep(_BEAT_S)
                self._metrics.loop_delay.observe(max(0.0, monotonic() - due))
                self._metrics.fold()

    def _look(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime
        self._metrics.cpu_seconds.inc(cpu_s - self._cpu_s)
        self._cpu_s = cpu_s
        with contextlib.suppress(OSError):
            pages = int((_SELF / "statm").read_text(encoding="ascii").split()[1])
            self._metrics.resident_memory.set(pages * _PAGE_BYTES)
            self._metrics.open_files.set(len(os.listdir(_SELF / "fd")))  # noqa: PTH208  by far the quickest way
