"""The folded view: one spelling for full-width, upper-case, accented and invisible variants.

The fold works character by character, so that it cannot depend on how a stream was cut.
"""

import unicodedata

_KANA_VOICING = "\u3099\u309a"  # dropping these would turn が into か
_DROPPED = frozenset({"Mn", "Me", "Cf"})  # accents, enclosing marks, zero-width and bidi characters
_FILLERS = frozenset({0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800})
_BMP = 0xFFFF


def fold_character(character: str) -> str:
    """Return what one character becomes; may be empty (a zero-width space) or longer (a ligature)."""
    if ord(character) in _FILLERS:
        return ""
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if _is_kept(part)).replace("ß", "ss").replace("ς", "σ")


def _is_kept(part: str) -> bool:
    return part in _KANA_VOICING or unicodedata.category(part) not in _DROPPED


class _FoldTable(dict[int, str]):
    """Fills itself. Only the first plane is kept, 65,536 characters: input cannot grow it without end."""

    def __missing__(self, codepoint: int) -> str:
        folded = fold_character(chr(codepoint))
        if codepoint <= _BMP:
            self[codepoint] = folded
        return folded


_TABLE = _FoldTable()


def plain(text: str) -> str:
    """Return the plain view of `text`, case kept."""
    return text if text.isascii() else text.translate(_TABLE)


def fold(text: str) -> str:
    return plain(text).lower()


def plain_with_origins(text: str, first: int = 0) -> tuple[str, list[int]]:
    """Return the plain view and, per character of it, the index in `text` (plus `first`) that it came from."""
    if text.isascii():
        return text, list(range(first, first + len(text)))
    pieces: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(text, first):
        folded = _TABLE[ord(character)]
        pieces.append(folded)
        origins += [index] * len(folded)
    return "".join(pieces), origins


def fold_with_origins(text: str, first: int = 0) -> tuple[str, list[int]]:
    folded, origins = plain_with_origins(text, first)
    return folded.lower(), origins


def is_word_character(character: str) -> bool:
    r"""Whether RE2's `\b` would see a word character: ASCII only, so that 词word词 has its boundaries."""
    return character.isascii() and (character.isalnum() or character == "_")
