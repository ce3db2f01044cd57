"""Finds the operator library that the build put beside its sources."""

from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent / "libweir_ops.so"


def operators() -> Path | None:
    """Return the path of the library; none: no C compiler was there when Weir was installed."""
    return _LIBRARY if _LIBRARY.is_file() else None
