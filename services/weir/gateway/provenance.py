"""The headers that say what served an answer."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from weir.gateway.generation import Generation, Headers

RELEASE: Final = b"x-weir-release"
NODE: Final = b"x-weir-node"
FLAVOUR: Final = b"x-weir-flavour"


@lru_cache(maxsize=4096)
def served_headers(model: str, version: int, node: str, flavour: str) -> Headers:
    """Return them; a flavour that nobody knows is left out."""
    headers = ((RELEASE, f"{model}/{version}".encode()), (NODE, node.encode()))
    return (*headers, (FLAVOUR, flavour.encode())) if flavour else headers


def served_by(generations: Sequence[Generation]) -> Headers:
    """Return the headers of a response that holds one answer, or several: then each says all that took part."""
    if len(generations) == 1:
        return generations[0].served
    found: dict[bytes, dict[bytes, None]] = {}
    for generation in generations:
        for name, value in generation.served:
            found.setdefault(name, {})[value] = None
    return tuple((name, b", ".join(values)) for name, values in found.items())
