"""Threads for the cores that a process really has."""

from pathlib import Path

import pytest

from weir.engine.cpus import machine, this_machine


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """Four cores of two threads each: siblings are n and n + 4."""
    for cpu in range(8):
        topology = tmp_path / "sys" / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "core_cpus_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path / "sys"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return tmp_path / "proc"


def group(proc: Path, text: str) -> None:
    (proc / "self" / "cgroup").write_text(text)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("cpus", "cores"),
    [(range(8), (0, 1, 2, 3)), ([1, 5], (1,)), ([0, 1, 4, 6], (0, 1, 6)), ([7], (7,))],
)
def test_siblings_of_one_core_count_once(sys: Path, proc: Path, cpus, cores) -> None:
    found = machine(cpus, sys=sys, proc=proc)
    assert (found.cores, found.threads) == (cores, len(cores))


def test_an_older_kernel_names_siblings_otherwise(tmp_path: Path) -> None:
    for cpu in range(2):
        write(tmp_path / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", "0-1\n")
    assert machine(range(2), sys=tmp_path, proc=tmp_path).cores == (0,)


def test_without_a_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    assert machine(range(3), sys=tmp_path, proc=tmp_path).threads == 3


@pytest.mark.parametrize(
    ("limit", "threads"),
    [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 4), ("nonsense", 4)],
)
def test_a_container_of_cgroup_v2_bounds_the_threads(sys: Path, proc: Path, limit: str, threads: int) -> None:
    write(sys / "fs/cgroup/cpu.max", limit + "\n")
    assert machine(range(8), sys=sys, proc=proc).threads == threads


def test_the_tightest_group_above_the_process_bounds_it(sys: Path, proc: Path) -> None:
    group(proc, "0::/slice/pod/box\n")
    write(sys / "fs/cgroup/slice/pod/box/cpu.max", "max 100000\n")
    write(sys / "fs/cgroup/slice/pod/cpu.max", "300000 100000\n")
    write(sys / "fs/cgroup/slice/other/cpu.max", "100000 100000\n")
    assert machine(range(8), sys=sys, proc=proc).quota == 3.0


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "threads"), [("200000", 2), ("-1", 4)])
def test_a_container_of_cgroup_v1_bounds_the_threads(sys: Path, proc: Path, mount, quota, threads) -> None:
    group(proc, "9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n")
    write(sys / f"fs/cgroup/{mount}/docker/abc/cpu.cfs_quota_us", quota)
    write(sys / f"fs/cgroup/{mount}/docker/abc/cpu.cfs_period_us", "100000")
    assert machine(range(8), sys=sys, proc=proc).threads == threads


def test_this_very_machine_has_a_core() -> None:
    assert 1 <= this_machine().threads <= len(this_machine().cpus)
