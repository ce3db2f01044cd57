"""How an engine may use its machine."""

import os
from dataclasses import dataclass
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Bounds of one engine; `load_engine` turns them into slots.

    `threads` 0 means as many as this process may use. A prompt is read `prefill_chunk_tokens` at a time, and
    chunk borders depend on the prompt alone, so that an answer never depends on who else is served.
    """

    threads: int = 0
    max_running: int = 16
    max_waiting: int = 64
    prefill_chunk_tokens: int = 64
    kv_budget_bytes: int = 2 << 30
    max_context_tokens: int | None = None
    check_golden: bool = True


def available_cpus(quota_file: Path = _CGROUP_QUOTA) -> int:
    """CPUs that this process may use: its affinity, cut by the container's quota (a limit of 2 on 64 cores is 2)."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        cpus = min(cpus, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no quota
        pass
    return cpus
