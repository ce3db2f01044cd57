"""This machine: Python, processor, memory, disk, files, limits."""

import os
import platform
import resource
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from weir.contracts.finding import Finding, fail, ok, warn
from weir.engine.kernels.library import instruction_set

_CPU_FLAGS: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
_LEAST_FREE: Final = 512 << 20  # a checkpoint, a database and its log need room to be written at all
_GOOD_FREE: Final = 5 << 30
_FEW_FILES: Final = 4096
_SECRET_FILES: Final = ("gateway.sqlite", "gateway.sqlite-wal", "audit.key")


def machine(home: Path) -> Iterator[Finding]:
    yield _python()
    yield _processor()
    yield _operators()
    yield _files_limit()
    yield from _home(home)


def _python() -> Finding:
    flags = f"{sysconfig.get_config_var('PY_CFLAGS') or ''} {sysconfig.get_config_var('CONFIG_ARGS') or ''}"
    named = f"{platform.python_implementation()} {platform.python_version()} at {Path(sys.executable).parent}"
    if hasattr(sys, "gettotalrefcount"):
        return warn("python", f"{named}: a debug build, which is slow", "use a release build of Python")
    if not any(word in flags for word in ("-fprofile-use", "--enable-optimizations")):
        cure = "use a distribution's Python, or build it with --enable-optimizations --with-lto"
        return warn("python", f"{named}: built without profile-guided optimisation", cure)
    return ok("python", f"{named}, an optimised build")


def _processor() -> Finding:
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = " ".join(cpu_flags()) or "no vector extension that Weir knows"
    memory = f"{pages * page_bytes / 2**30:.1f} GiB"
    return ok("machine", f"{platform.system()} {platform.machine()}, {usable} cores, {memory}; {flags}")


def cpu_flags() -> list[str]:
    info = Path("/proc/cpuinfo")
    words = set(info.read_text(encoding="utf-8").split()) if info.is_file() else set()
    return [flag for flag in _CPU_FLAGS if flag in words]


def _operators() -> Finding:
    found = instruction_set()
    if found is None:
        cure = "install a C compiler, then Weir again (pip install --force-reinstall --no-deps)"
        return warn("operators", "not built (no C compiler?): packed flavours are not served", cure)
    if found == "portable":
        return warn("operators", "portable: this processor has no AVX2, packed flavours are slow", "serve cpu-fp32")
    return ok("operators", f"{found} kernels")


def _files_limit() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < _FEW_FILES:
        return warn("open files", f"{hard} at most: each connection is one", "raise the hard limit (ulimit -Hn 65536)")
    return ok("open files", "no limit" if hard < 0 else f"{hard} at most")


def _home(home: Path) -> Iterator[Finding]:
    there = next(path for path in (home, *home.absolute().parents) if path.exists())
    if not there.is_dir():
        yield fail("home", f"{there} is not a folder", "choose another one with --home or WEIR_HOME")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        cure = f"give it to the user that runs Weir (uid {os.getuid()}), or choose another one with --home or WEIR_HOME"
        yield fail("home", f"{there} cannot be written", cure)
    else:
        yield ok("home", str(home) if there == home else f"{home}, not made yet")
    yield _disk(there)
    yield from _exposed(home)


def _disk(there: Path) -> Finding:
    free = shutil.disk_usage(there).free
    says = f"{free / 2**30:.1f} GiB free at {there}"
    if free < _LEAST_FREE:
        return fail("disk", says, "free some, or move WEIR_HOME: nothing can be written soon")
    return ok("disk", says) if free >= _GOOD_FREE else warn("disk", says, "a training run may need more")


def _exposed(home: Path) -> Iterator[Finding]:
    """Name the files with secrets that others may read."""
    for name in _SECRET_FILES:
        path = home / name
        if path.is_file() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield warn("permissions", f"{path} can be read by others", f"chmod 600 {path}")
