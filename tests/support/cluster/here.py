"""Whether this machine lets a test make namespaces and groups."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def skip_unless_pods_can_be_made() -> None:
    """Skip, saying what is missing."""
    if os.geteuid() != 0:
        pytest.skip("pods need root: network namespaces and control groups")
    for program in ("ip", "nsenter", "sysctl"):
        if shutil.which(program) is None:
            pytest.skip(f"pods need `{program}`")
    for kind in ("memory", "cpu"):
        if not os.access(Path("/sys/fs/cgroup") / kind / "cgroup.procs", os.W_OK):
            pytest.skip(f"pods need a writable version 1 control group of {kind}")
    name = f"weir-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"pods need network namespaces: {made.stderr.strip()}")
    subprocess.run(["ip", "netns", "del", name], check=True)
