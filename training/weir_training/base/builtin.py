"""Where the bases that come with Weir lie: beside the package in a wheel, in `training/base` in a checkout."""

from pathlib import Path

SCHEME = "builtin:"

_PACKAGE_FOLDER = Path(__file__).resolve().parent
_CHECKOUT_FOLDER = _PACKAGE_FOLDER.parents[1]  # training/, where the package is not installed


def builtin_path(name: str) -> Path:
    """Return the folder of the base called `name`, as "tiny-chat" or "builtin:tiny-chat".

    Raises:
        LookupError: no such base is shipped, or its folder is missing.
    """
    folder = name.removeprefix(SCHEME).replace("-", "_")
    if not folder.isidentifier():
        raise LookupError(f"{name!r} is not the name of a built-in base")
    for place in (_PACKAGE_FOLDER / folder, _CHECKOUT_FOLDER / "base" / folder):
        if (place / "config.json").is_file():
            return place
    raise LookupError(f"there is no built-in base {name!r}; `weir base build` makes one")


def example_paths() -> list[Path]:
    """Return the bundled example files, sorted; empty in an installation without them."""
    for place in (_PACKAGE_FOLDER.parent / "examples", _CHECKOUT_FOLDER / "examples"):
        if paths := sorted(place.glob("*.jsonl")):
            return paths
    return []
