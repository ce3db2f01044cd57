"""What a check of an installation found."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `weir doctor`. `do` says how to mend it. Neither ever holds a secret."""

    check: str
    level: Level
    says: str
    do: str | None = None


class Place(NamedTuple):
    """Where something listens."""

    name: str
    host: str
    port: int


def ok(check: str, says: str) -> Finding:
    return Finding(check, "ok", says)


def warn(check: str, says: str, do: str | None = None) -> Finding:
    return Finding(check, "warn", says, do)


def fail(check: str, says: str, do: str) -> Finding:
    return Finding(check, "fail", says, do)
