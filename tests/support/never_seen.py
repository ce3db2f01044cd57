"""Texts of random characters: a search that has seen one builds no states for it, and one that has not many."""

import string
from base64 import urlsafe_b64encode
from collections.abc import Callable
from random import Random

from tests.support import identities

Maker = Callable[[Random], str]
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_IN_PATHS = string.ascii_letters + string.digits + "/?&=%"


def of(alphabet: str, count: int) -> Maker:
    return lambda draw: "".join(draw.choices(alphabet, k=count)) + " "


NEVER_SEEN: dict[str, Maker] = {
    "printable characters": of("".join(map(chr, range(33, 127))), 60),
    "digits and signs": of("0123456789- .", 60),
    "base64": of(f"{identities.WORD}+/", 76),
    "base 58": of(_BASE58, 34),
    "hexadecimal": of("0123456789abcdef", 64),
    "addresses": lambda draw: f"https://{identities.some(draw, identities.SMALL, 8)}.com/{of(_IN_PATHS, 40)(draw)}",
    "Bitcoin addresses": lambda draw: f"{identities.bitcoin_address(draw)} ",
    "characters up to U+3000": lambda draw: "".join(chr(draw.randrange(0x20, 0x3000)) for _ in range(40)),
}


def _token(draw: Random) -> str:
    """As JWTs are written."""
    parts = [urlsafe_b64encode(b'{"' + draw.randbytes(size)).decode().rstrip("=") for size in (24, 90)]
    return f"{parts[0]}.{parts[1]}.{urlsafe_b64encode(draw.randbytes(32)).decode().rstrip('=')} "


STREAMED: dict[str, Maker] = {**NEVER_SEEN, "tokens": _token}


def text_of(maker: Maker, draw: Random, size: int = 100_000) -> str:
    parts, length = [], 0
    while length < size:
        parts.append(maker(draw))
        length += len(parts[-1])
    return "".join(parts)[:size]
