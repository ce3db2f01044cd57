"""Letters behind digits, signs and separators: the leet and the squeezed view of folded text."""

import unicodedata
from collections.abc import Iterator
from itertools import compress

import re2

MAX_GAP = 3  # separators that may stand between two letters of a term

_LEET = str.maketrans("013457@$!|l", "oieastasiii")  # 1 is i or l, so the two are one letter in this view
_LEET_BYTES = bytes.maketrans(b"013457@$!|l", b"oieastasiii")
_CHANGING = frozenset("013457@$!|l")
_SHORT = 48  # characters; longer texts are worth what finding out about them costs
_LEAST_SPELLED = 4
_PLANE = 1 << 16
_ASCII = bytes(range(128))
_USUAL_SEPARATORS = "。、《》「」【】·•→"  # beyond ASCII, in the fold view
_ASCII_SEPARATORS = bytes(byte for byte in _ASCII if not chr(byte).isalnum())
_SPELLED_OUT = re2.compile(r"[0-9a-z](?:[^0-9a-z]{1,3}[0-9a-z]){3,}")
LEET = frozenset("013457@$!|")
_LEET_LETTERS = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "il"}
_JOINED = (
    (0x1100, 0x11FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3041, 0x30FF), (0x3100, 0x312F), (0x3131, 0x318E),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip


def leet(text: str) -> str:
    """Return folded text of the same length with digits and signs read as the letters they look like."""
    if len(text) <= _SHORT:
        return text if _CHANGING.isdisjoint(text) else text.translate(_LEET)
    if text.isascii():
        return text.translate(_LEET)
    return text.encode("utf-8", "surrogatepass").translate(_LEET_BYTES).decode("utf-8", "surrogatepass")


def has_leet(text: str) -> bool:
    """Whether a digit or sign of folded text may stand for a letter."""
    return not LEET.isdisjoint(text) if len(text) <= _SHORT else any(one in text for one in LEET)


def spelled_out(text: str) -> Iterator[tuple[int, int]]:
    """Yield where letters of folded text may stand apart, four and more in a row: `[start, end)`."""
    if not text.isascii():
        yield 0, len(text)
    elif len(text) > 2 * _LEAST_SPELLED - 2:
        yield from (match.span() for match in _SPELLED_OUT.finditer(text))


def differs_by_leet(text: str, term: str) -> bool:
    """Whether `text`, of the term's length, is the term but for letters written in leet (one at least)."""
    is_changed = False
    for seen, meant in zip(text, term, strict=True):
        if seen != meant:
            if meant not in _LEET_LETTERS.get(seen, ""):
                return False
            is_changed = True
    return is_changed


def squeeze(text: str) -> str:
    """Return the letters, digits and marks of folded text."""
    if text.isalnum():
        return text
    if len(text) <= _SHORT:
        return text.translate(_LETTERS)
    text = text.encode("utf-8", "surrogatepass").translate(None, _ASCII_SEPARATORS).decode("utf-8", "surrogatepass")
    for one in _USUAL_SEPARATORS:
        if one in text:
            text = text.replace(one, "")
    if text.isalnum():
        return text
    rest = text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")
    for one in set(rest):
        if not is_letter(one):
            text = text.replace(one, "")
    return text


def places(text: str, letters: str) -> list[int]:
    """Return where each character of the squeezed text stands in `text`."""
    if letters.isalnum():  # no marks, which are the slow ones to tell
        return list(compress(range(len(text)), map(str.isalnum, text)))
    return [index for index, one in enumerate(text) if is_letter(one)]


def is_joined_script(text: str) -> bool:
    """Whether it has a character of a script that is written without spaces, or in syllables (Han, kana, hangul)."""
    return not text.isascii() and any("\u4e00" <= letter <= "\u9fff" or _is_joined(ord(letter)) for letter in text)


def _is_joined(code: int) -> bool:
    return code >= _JOINED[0][0] and any(low <= code <= high for low, high in _JOINED)


class _Letters(dict[int, int | None]):
    """Fills itself, from the first plane only, 65,536 characters: input cannot grow it without end."""

    def __missing__(self, codepoint: int) -> int | None:
        kept = codepoint if is_letter(chr(codepoint)) else None
        if codepoint < _PLANE:
            self[codepoint] = kept
        return kept


def is_letter(character: str) -> bool:
    return character.isalnum() or (not character.isascii() and unicodedata.category(character)[0] == "M")


_LETTERS = _Letters()
