"""Productions with slots, and texts drawn from them."""

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

_SLOT: Final = re.compile(r"\{(\w+)\}")
_SPACES: Final = re.compile(r" {2,}")
Table = Mapping[str, Sequence[str]]


def table(*texts: str) -> dict[str, tuple[str, ...]]:
    """Read lines `name: one | another`; an empty alternative is one, too.

    Raises:
        ValueError: a line has no name, or a name comes twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in (line for text in texts for line in text.strip("\n").split("\n")):
        name, colon, rest = line.partition(":")
        if not colon or not name.isidentifier() or name in found:
            raise ValueError(f"not a production, or one of a known name: {line[:60]!r}")
        found[name] = tuple(part.strip() for part in rest.split(" |"))
    return found


def drawn(rng: Random, production: str, slots: Table) -> str:
    """Fill every slot with one of its alternatives, drawn anew each time it stands there."""
    text = production
    while (found := _SLOT.search(text)) is not None:
        text = text[: found.start()] + rng.choice(slots[found[1]]) + text[found.end() :]
    return _SPACES.sub(" ", text).strip()
