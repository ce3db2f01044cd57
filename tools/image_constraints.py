"""Writes deploy/constraints/<image>.txt: every package of an image with its version, from the pins of development.

    python tools/image_constraints.py [--check]

What an image needs is found in the metadata of what is installed here, so run it in the environment of `make install`.
An image installs exactly these files (`pip install --no-deps`), so nothing is resolved while it is built.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
NOT_PINNED: Final = frozenset({"setuptools"})  # torch asks for it at build time; `pip freeze` leaves it out
PINS: Final = ROOT / "deploy" / "constraints"


class Image(NamedTuple):
    """Extras and further packages of one image.

    `instead`: another package of the same version in a package's place; `held`: a version that its base image dictates.
    """

    extras: tuple[str, ...]
    more: tuple[str, ...] = ()
    instead: Mapping[str, str] = {}
    held: Mapping[str, str] = {}


IMAGES: Final = {
    "build": Image((), ("hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers")),
    # redis wants async-timeout below Python 3.11.3, and Debian's is 3.11.2.
    "gateway": Image(
        ("gateway", "triton-nodes", "postgres", "redis", "otel"), ("async-timeout",), held={"async-timeout": "5.0.1"}
    ),
    "cpu-node": Image(("node", "otel")),
    # Triton's python backend is built against numpy 1.
    "triton": Image(("node", "otel"), instead={"onnxruntime": "onnxruntime-gpu"}, held={"numpy": "1.26.4"}),
    "training": Image(("train", "export")),
}


def main() -> int:
    is_check = sys.argv[1:] == ["--check"]
    wrong = (
        [name for name, text in written() if (PINS / f"{name}.txt").read_text(encoding="utf-8") != text]
        if is_check
        else []
    )
    for name, text in () if is_check else written():
        (PINS / f"{name}.txt").write_text(text, encoding="utf-8")
    for name in wrong:
        sys.stderr.write(f"deploy/constraints/{name}.txt is not what dev.txt says: make constraints\n")
    return 1 if wrong else 0


def written() -> Iterator[tuple[str, str]]:
    """Yield each image's name and the text of its file."""
    pins, extras = read_pins(PINS / "dev.txt"), _extras()
    for name, image in IMAGES.items():
        roots = [*extras[""], *(need for extra in image.extras for need in extras[extra])] if image.extras else []
        packages = {*closure(roots), *map(canonicalize_name, image.more)} - NOT_PINNED
        lines = sorted(_line(package, image, pins) for package in packages)
        yield name, f"# Made by tools/image_constraints.py of dev.txt; `make constraints` renews it.\n{''.join(lines)}"


def _line(package: str, image: Image, pins: Mapping[str, str]) -> str:
    return f"{image.instead.get(package, package)}=={image.held.get(package) or pins[package]}\n"


def read_pins(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): version.strip() for name, version in pairs}


def _extras() -> dict[str, list[Requirement]]:
    """Return what pyproject.toml asks for per extra; under the empty name, what is always needed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {name: list(map(Requirement, lines)) for name, lines in project["optional-dependencies"].items()}
    found[""] = list(map(Requirement, project["dependencies"]))
    return {name: list(_without_self(needs, found)) for name, needs in found.items()}


def _without_self(needs: Iterable[Requirement], extras: Mapping[str, list[Requirement]]) -> Iterator[Requirement]:
    """Replace `weir[a,b]` by what those extras ask for."""
    for need in needs:
        if need.name == "weir":
            for extra in need.extras:
                yield from _without_self(extras[extra], extras)
        else:
            yield need


def closure(roots: Iterable[Requirement]) -> set[str]:
    """Return all that is needed, as installed packages say it of each other on this platform."""
    waiting = [(canonicalize_name(root.name), frozenset(root.extras)) for root in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        needs = [need for need in map(Requirement, requires(name) or ()) if _applies(need, extras)]
        waiting.extend((canonicalize_name(need.name), frozenset(need.extras)) for need in needs)
    return {name for name, _ in seen}


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras or {""})


if __name__ == "__main__":
    sys.exit(main())
