"""Which parts of Weir are installed, and whether what they need is there in the versions that they need."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from operator import eq, ge, gt, le, lt, ne
from typing import Final, NamedTuple

from weir import __version__
from weir.contracts.finding import Finding, fail, ok, warn

PARTS: Final = ("gateway", "node", "triton-nodes", "train", "export", "postgres", "redis", "otel")
_REQUIREMENT: Final = re.compile(
    r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*extra\s*==\s*['\"]([^'\"]+)['\"])?"
)
_HOLDS: Final = {">=": ge, "<=": le, "==": eq, "!=": ne, "<": lt, ">": gt}
_BOUND: Final = re.compile(r"(>=|<=|==|!=|<|>)\s*([0-9][0-9.]*)")


class Need(NamedTuple):
    """One package that a part needs, and the bounds of its version."""

    package: str
    bounds: str


def packages() -> Iterator[Finding]:
    try:
        said = requires("weir") or ()
    except PackageNotFoundError:
        yield warn("weir", f"{__version__}, run from its sources: it is not installed", "pip install --editable .")
        return
    yield ok("weir", __version__)
    for part in PARTS:
        found = _part(part, [need for need in map(_need, said) if need[0] == part])
        if found is not None:
            yield found


def _need(requirement: str) -> tuple[str, Need]:
    """Return the extra that wants it, and what it is."""
    found = _REQUIREMENT.fullmatch(requirement)
    if found is None:
        return "", Need(requirement, "")
    return found[3] or "", Need(found[1], found[2])


def _part(part: str, needs: list[tuple[str, Need]]) -> Finding | None:
    """None: nothing of it is installed, so nobody wants it here."""
    wanted = [need for _, need in needs if need.package != "weir"]
    missing = [need.package for need in wanted if _version(need.package) is None]
    wrong = [
        f"{n.package} {found} ({n.bounds})"
        for n in wanted
        if (found := _version(n.package)) and not fits(found, n.bounds)
    ]
    if len(missing) == len(wanted):
        return None
    cure = f"pip install 'weir[{part}]'"
    if wrong:
        return fail(f"packages of {part}", f"not in the versions that it needs: {', '.join(wrong)}", cure)
    if missing:
        return warn(f"packages of {part}", f"missing: {', '.join(missing)}", cure)
    return ok(f"packages of {part}", f"all {len(wanted)}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def fits(found: str, bounds: str) -> bool:
    """Whether a version is within bounds like `>=3.13,<4`, as far as its numbers say."""
    return all(_HOLDS[sign](*_even(_numbers(found), _numbers(limit))) for sign, limit in _BOUND.findall(bounds))


def _even(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    size = max(len(one), len(other))
    return one + (0,) * (size - len(one)), other + (0,) * (size - len(other))


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
