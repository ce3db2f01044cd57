"""Letters behind digits, signs and separators: the leet and the squeezed view of folded text."""

import unicodedata

MAX_GAP = 3  # separators that may stand between two letters of a term

_LEET = str.maketrans("013457@$!|l", "oieastasiii")  # 1 is i or l, so the two are one letter in this view
LEET = frozenset("013457@$!|")
_LEET_LETTERS = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "il"}
_JOINED = (
    (0x1100, 0x11FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3041, 0x30FF), (0x3100, 0x312F), (0x3131, 0x318E),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip


def leet(text: str) -> str:
    """Return folded text of the same length with digits and signs read as the letters they look like."""
    return text.translate(_LEET)


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
    return text if text.isalnum() else "".join(filter(_is_letter, text))


def squeezed_with_places(text: str) -> tuple[str, list[int]]:
    """Return the squeezed text and, per character of it, where it stands in `text`."""
    if text.isalnum():
        return text, list(range(len(text)))
    places = [i for i, one in enumerate(text) if one.isalnum() or (not one.isascii() and _is_letter(one))]
    return "".join([text[index] for index in places]), places


def is_joined_script(text: str) -> bool:
    """Whether it has a character of a script that is written without spaces, or in syllables (Han, kana, hangul)."""
    return not text.isascii() and any(low <= ord(letter) <= high for letter in text for low, high in _JOINED)


def _is_letter(character: str) -> bool:
    return character.isalnum() or (not character.isascii() and unicodedata.category(character)[0] == "M")
