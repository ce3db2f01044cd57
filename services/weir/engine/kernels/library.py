"""Finds the operator library that the build put beside its sources."""

import ctypes
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent / "libweir_ops.so"


def operators() -> Path | None:
    """Return the path of the library; none: no C compiler was there when Weir was installed."""
    return _LIBRARY if _LIBRARY.is_file() else None


def instruction_set() -> str | None:
    """Return what this CPU runs the operators with: `avx512`, `avx2` or `portable`; none: they are not built."""
    path = operators()
    if path is None:
        return None
    use = ctypes.CDLL(str(path)).weir_kernels_use
    use.argtypes, use.restype = [ctypes.c_char_p], ctypes.c_char_p
    name: bytes = use(None)
    return name.decode()
