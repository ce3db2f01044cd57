"""Which flavour of a release to serve on this machine: the fastest that passed, the closest among equals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from weir.contracts.errors import CheckFailedError

_EQUAL_WITHIN: Final = 0.05  # medians of short rounds differ by that much from run to run


@dataclass(frozen=True, slots=True)
class Option:
    """A flavour with its engine's tokens/s per load (reading, 1 user, 4 users, ...) and its parity."""

    flavour: str
    speeds: Mapping[int, float]
    kl: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Choice:
    flavour: str
    reason: str


def scores(options: Sequence[Option]) -> dict[str, float]:
    """Return per flavour the geometric mean over all loads of its speed, relative to the fastest (1: always it)."""
    loads = set.intersection(*(set(option.speeds) for option in options)) if options else set()
    best = {load: max(option.speeds[load] for option in options) for load in loads}
    return {
        option.flavour: math.exp(sum(math.log(option.speeds[load] / best[load]) for load in loads) / max(1, len(loads)))
        for option in options
    }


def choose(options: Sequence[Option]) -> Choice:
    """Return the flavour to serve.

    Raises:
        CheckFailedError: none passed its parity gate.
    """
    allowed = [option for option in options if option.passed]
    if not allowed:
        raise CheckFailedError("no flavour that passed its parity gate was measured")
    found = scores(allowed)
    top = max(found.values())
    near = [option for option in allowed if found[option.flavour] >= top * (1 - _EQUAL_WITHIN)]
    chosen = min(near, key=lambda option: (option.kl, option.flavour))
    return Choice(chosen.flavour, _reason(chosen, near, found))


def _reason(chosen: Option, near: Sequence[Option], found: Mapping[str, float]) -> str:
    said = f"speed {found[chosen.flavour]:.2f} of the fastest over all loads, mean KL {chosen.kl:.1e}"
    others = [option.flavour for option in near if option is not chosen]
    if others:
        return f"{said}; {', '.join(others)} within {_EQUAL_WITHIN:.0%} but no closer to the checkpoint"
    return f"{said}; no other flavour within {_EQUAL_WITHIN:.0%}"


def choice_table(options: Sequence[Option], choice: Choice) -> str:
    found = scores([option for option in options if option.passed])
    lines = [f"{'flavour':<16}{'speed':>7}{'KL':>10}  gate"]
    lines += [
        f"{option.flavour:<16}{_shown(found.get(option.flavour)):>7}{option.kl:>10.1e}  "
        f"{'passed' if option.passed else 'failed'}{'   <- serve this one' if option.flavour == choice.flavour else ''}"
        for option in options
    ]
    return "\n".join([*lines, f"{choice.flavour}: {choice.reason}"])


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
