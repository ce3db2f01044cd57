"""Compiles the guard's extension module beside its sources, with the machine's own C compiler.

    python build.py [FOLDER]

Standard library only: the build hook of the wheel runs it too. Without a compiler, or without Python's headers, the
guard is slower, and the same.
"""

import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
LIBRARY = f"weir_guard{sysconfig.get_config_var('EXT_SUFFIX') or '.so'}"  # of one version of Python
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-missing-field-initializers")


def build(folder: Path = SOURCES, compiler: str | None = None) -> Path:
    """Return the module's path. `compiler`: its command, with options of one's own if there are any.

    Raises:
        OSError: there is no such compiler.
        subprocess.CalledProcessError: it failed; its words are in `stderr`.
    """
    command = shlex.split(compiler) if compiler else shlex.split(sysconfig.get_config_var("CC") or "cc")[:1]
    target = folder / LIBRARY
    headers = dict.fromkeys(f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude"))
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work) / LIBRARY
        parts = [*command, *_FLAGS, *headers, "-shared", *sorted(map(str, SOURCES.glob("*.c"))), "-o", str(made)]
        subprocess.run(parts, check=True, capture_output=True, text=True)
        made.replace(target)
    return target


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]) if sys.argv[1:] else SOURCES)
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
