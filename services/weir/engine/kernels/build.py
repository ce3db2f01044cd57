"""Compiles the operator library beside its sources, with the machine's own C compiler.

    python build.py [FOLDER]

Standard library only: the build hook of the wheel runs it too. Without a compiler, nodes use the flavours that plain
onnxruntime runs.
"""

import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
LIBRARY = "libweir_ops.so"
_COMMON = (
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
)
_X86 = {
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mfma", "-mf16c", "-mavx2"),
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
    "portable": (),
}


def build(folder: Path = SOURCES, compiler: str | None = None) -> Path:
    """Return the library's path.

    Raises:
        OSError: there is no such compiler.
        subprocess.CalledProcessError: it failed; its words are in `stderr`.
    """
    command = shlex.split(compiler or sysconfig.get_config_var("CC") or "cc")[:1]
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    sets = _X86 if is_x86 else {"portable": ()}
    common = [*_COMMON, *(["-DWEIR_X86"] if is_x86 else [])]
    target = folder / LIBRARY
    with tempfile.TemporaryDirectory(dir=folder) as work:
        objects = [Path(work) / "ops.o"]
        _run([*command, *common, "-c", SOURCES / "ops.c", "-o", objects[0]])
        for name, flags in sets.items():
            objects.append(Path(work) / f"{name}.o")
            _run([*command, *common, *flags, f"-DWEIR_SET={name}", "-c", SOURCES / "kernels.c", "-o", objects[-1]])
        _run([*command, "-shared", *objects, "-lm", "-o", Path(work) / LIBRARY])
        (Path(work) / LIBRARY).replace(target)
    return target


def _run(command: list[str | Path]) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]) if sys.argv[1:] else SOURCES)
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
