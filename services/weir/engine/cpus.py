"""Which CPUs a process may compute with: its affinity, the container's quota, and one thread per physical core."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use.

    Attributes:
        cpus: logical CPUs of its affinity.
        cores: one logical CPU of each physical core among them, ascending.
        quota: CPUs' worth of time per second that the container may take; None: no limit.
    """

    cpus: tuple[int, ...]
    cores: tuple[int, ...]
    quota: float | None

    @property
    def threads(self) -> int:
        """How many threads may compute at once without waiting for one another's core or for the quota.

        A quota of 1.5 gives one: two threads that meet after every operator would both stand still when it is used up.
        """
        return len(self.cores) if self.quota is None else min(len(self.cores), max(1, int(self.quota + 0.01)))


def this_machine(sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> Machine:
    """Look at affinity, topology and cgroup; what cannot be read does not bound.

    Args:
        sys: where sysfs is mounted.
        proc: where procfs is mounted.
    """
    known = hasattr(os, "sched_getaffinity")
    return machine(os.sched_getaffinity(0) if known else range(os.cpu_count() or 1), sys=sys, proc=proc)


def machine(cpus: Collection[int], *, sys: Path, proc: Path) -> Machine:
    """As `this_machine`, for a process whose affinity is `cpus`."""
    quotas = [quota for quota in (*_quotas_v2(sys, proc), *_quotas_v1(sys, proc)) if quota > 0]
    return Machine(tuple(sorted(cpus)), _cores(cpus, sys), min(quotas, default=None))


def _cores(cpus: Collection[int], sys: Path) -> tuple[int, ...]:
    """The first CPU of each group of SMT siblings; a CPU whose topology is unknown counts as a core."""
    first: dict[str, int] = {}
    for cpu in sorted(cpus):
        first.setdefault(_siblings(cpu, sys), cpu)
    return tuple(first.values())


def _siblings(cpu: int, sys: Path) -> str:
    folder = sys / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
    for name in ("core_cpus_list", "thread_siblings_list"):
        try:
            return (folder / name).read_text().strip()
        except OSError:
            continue
    return f"cpu {cpu}"


def _quotas_v2(sys: Path, proc: Path) -> Iterator[float]:
    """Of the process's cgroup and all above it: each bounds those below."""
    root = sys / "fs" / "cgroup"
    for folder in _ancestry(root, _group(proc, "")):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # not there, or "max": no quota
            continue


def _quotas_v1(sys: Path, proc: Path) -> Iterator[float]:
    for root in (sys / "fs" / "cgroup" / "cpu", sys / "fs" / "cgroup" / "cpu,cpuacct"):
        for folder in _ancestry(root, _group(proc, "cpu")):
            try:
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                yield quota / int((folder / "cpu.cfs_period_us").read_text())
            except (OSError, ValueError, ZeroDivisionError):
                continue


def _group(proc: Path, controller: str) -> Path:
    """Return the process's place in a cgroup hierarchy, relative to its root; within a container often the root."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return Path()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if controller in controllers.split(","):
            return Path(place.lstrip("/"))
    return Path()


def _ancestry(root: Path, place: Path) -> Iterator[Path]:
    """The root, and every folder on the way to `place`, which may not be visible from within a container."""
    yield root
    for depth in range(len(place.parts)):
        yield root.joinpath(*place.parts[: depth + 1])
