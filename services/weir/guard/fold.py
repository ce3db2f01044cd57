"""The plain view: one spelling for what readers take for the same text. The fold view is the same in small letters.

Width, accents, invisible characters, look-alike letters of other alphabets, enclosed letters and digits, tag characters
and traditional characters are undone, each character by itself, so that it cannot matter how a stream was cut. The
table is `tables/fold.json` (tools/guard_tables.py makes it). Hangul, voiced kana and the vowel marks of Indic and Thai
letters stay: without them other words would be left.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_ASCII = bytes(range(128))
_FEW = 24  # so many replacements, one after the other, are faster than looking at each character
_SHORT = 48
_LONGEST_FOREIGN_WORD = 4


class _Table(NamedTuple):
    by_codepoint: Mapping[int, str]
    by_character: Mapping[str, str]
    characters: frozenset[str]


@cache
def _table() -> _Table:
    becoming: dict[str, str] = json.loads(files("weir.guard").joinpath("tables/fold.json").read_text("ascii"))
    by_character: dict[str, str] = {}
    for folded, characters in becoming.items():
        by_character.update(dict.fromkeys(characters, folded))
    by_codepoint = {ord(character): folded for character, folded in by_character.items()}
    return _Table(by_codepoint, by_character, frozenset(by_character))


def plain(text: str) -> str:
    """Return the plain view of `text`, case kept. A character may become none (a zero-width space) or several (ﬁ)."""
    if text.isascii():
        return text
    table = _table()
    if len(text) <= _SHORT:
        return text.translate(table.by_codepoint)
    rest = text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")
    changing = table.characters.intersection(rest)
    if len(changing) > _FEW:
        return text.translate(table.by_codepoint)
    for character in changing:  # nothing that the table writes is a character that it changes
        text = text.replace(character, table.by_character[character])
    return text


def fold(text: str) -> str:
    """Return the fold view: the plain one in small letters, which are as many."""
    return plain(text).lower()


def plain_with_origins(text: str, first: int = 0) -> tuple[str, list[int]]:
    """Return the plain view and, per character of it, the index in `text` (plus `first`) that it came from."""
    if text.isascii():
        return text, list(range(first, first + len(text)))
    becomes = _table().by_character.get
    pieces = [becomes(character, character) for character in text]
    if all(len(piece) == 1 for piece in pieces):
        return "".join(pieces), list(range(first, first + len(text)))
    return "".join(pieces), [index for index, piece in enumerate(pieces, first) for _ in piece]


def fold_with_origins(text: str, first: int = 0) -> tuple[str, list[int]]:
    """As `plain_with_origins`, for the fold view."""
    folded, origins = plain_with_origins(text, first)
    return folded.lower(), origins


def is_word_character(character: str) -> bool:
    r"""Whether RE2's `\b` would see a word character: ASCII only, so that 词word词 has its boundaries."""
    return character.isascii() and (character.isalnum() or character == "_")


def is_foreign_word(written: str) -> bool:
    """Whether `written`, in which a Latin term was seen, is rather a short word of another alphabet (но, вот, το).

    The fold reads look-alikes as Latin letters, and short words of ordinary Russian, Ukrainian or Greek letters then
    spell Latin ones. Longer ones hardly ever do; a disguise that leaves one Latin letter is none of them.
    """
    return len(written) <= _LONGEST_FOREIGN_WORD and all(map(_is_ordinary, written))


def _is_ordinary(character: str) -> bool:
    """Whether it is a letter that Greek, Russian, Ukrainian, Serbian or Armenian is written with."""
    is_cyrillic = "\u0400" <= character <= "\u045f" and character not in "ѕЅ"
    return is_cyrillic or "\u0370" <= character <= "\u03ff" or "\u0531" <= character <= "\u0587"


def spellings(term: str) -> frozenset[str]:
    """Return the folds that a term has in small letters, in capitals and with a capital first letter.

    They differ for a few Greek letters only: ν passes for v, its capital Ν for N.
    """
    return frozenset(map(fold, (term, term.lower(), term.upper(), term.capitalize())))
