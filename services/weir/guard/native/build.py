"""Compiles the search for literals beside its sources, with the machine's own C compiler.

    python build.py [FOLDER]

Standard library only: the build hook of the wheel runs it too. Without a compiler the guard is slower, and the same.
"""

import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
LIBRARY = "libweir_guard.so"
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


def build(folder: Path = SOURCES, compiler: str | None = None) -> Path:
    """Return the library's path.

    Raises:
        OSError: there is no such compiler.
        subprocess.CalledProcessError: it failed; its words are in `stderr`.
    """
    command = shlex.split(compiler or sysconfig.get_config_var("CC") or "cc")[:1]
    target = folder / LIBRARY
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work) / LIBRARY
        parts = [*command, *_FLAGS, "-shared", *sorted(map(str, SOURCES.glob("*.c"))), "-o", str(made)]
        subprocess.run(parts, check=True, capture_output=True, text=True)
        made.replace(target)
    return target


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]) if sys.argv[1:] else SOURCES)
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
