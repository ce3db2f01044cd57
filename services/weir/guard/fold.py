"""The plain view: one spelling for what readers take for the same text. The fold view is the same in small letters.

Width, accents, invisible characters, look-alike letters of other alphabets, enclosed letters and digits, tag characters
and traditional characters are undone, each character by itself, so that it cannot matter how a stream was cut. The
table is `tables/fold.json` (tools/guard_tables.py makes it). Hangul, voiced kana and the vowel marks of Indic and Thai
letters stay: without them other words would be left.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby, islice
from typing import Any, NamedTuple

import re2

from weir.guard.native.library import FoldTable, core

_ASCII = bytes(range(128))
_USUAL = "，“”？：’！‘…—；（）"  # what most Chinese and much English text holds of all that changes
_MOST = 6  # characters that one becomes; ﷺ would be eighteen, and a text of them a flood
_FEW = 24  # so many replacements, one after the other, are faster than looking at each character
_SHORT = 48
_LEAST_JOINED = 3  # letters of each word of a term that is meant without its spaces too
_LONGEST_FOREIGN_WORD = 4
_WORD = frozenset("0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _Table(NamedTuple):
    native: FoldTable | None
    by_codepoint: Mapping[int, str]
    by_character: Mapping[str, str]
    characters: frozenset[str]
    usual: tuple[tuple[str, str], ...]
    unusual: Any  # finds a character that changes and is none of the usual ones
    uneven: Any  # finds one that becomes none or several
    uneven_characters: frozenset[str]


@cache
def _table() -> _Table:
    becoming: dict[str, str] = json.loads(files("weir.guard").joinpath("tables/fold.json").read_text("ascii"))
    by_character: dict[str, str] = {}
    for folded, characters in becoming.items():
        if len(folded) <= _MOST:
            by_character.update(dict.fromkeys(characters, folded))
    by_codepoint = {ord(character): folded for character, folded in by_character.items()}
    usual = tuple((character, by_character[character]) for character in _USUAL)
    unusual = _any_of(by_character.keys() - frozenset(_USUAL))
    uneven = frozenset(character for character, folded in by_character.items() if len(folded) != 1)
    native = core()
    table = None if native is None else FoldTable(native, by_codepoint)
    return _Table(table, by_codepoint, by_character, frozenset(by_character), usual, unusual, _any_of(uneven), uneven)


def _any_of(characters: Iterable[str]) -> Any:
    """Compile the search for any of them: RE2 goes through a text faster than a look at each character."""
    runs = groupby(enumerate(sorted(map(ord, characters))), lambda numbered: numbered[1] - numbered[0])
    spans = [[codepoint for _, codepoint in run] for _, run in runs]
    return re2.compile("[" + "".join(f"\\x{{{span[0]:x}}}-\\x{{{span[-1]:x}}}" for span in spans) + "]")


def plain(text: str) -> str:
    """Return the plain view of `text`, case kept. A character may become none (a zero-width space) or several (ﬁ)."""
    if text.isascii():
        return text
    table = _table()
    if table.native is not None:
        return table.native.plain(text)
    if len(text) <= _SHORT:
        return text.translate(table.by_codepoint)
    for character, folded in table.usual:
        if character in text:
            text = text.replace(character, folded)
    if table.unusual.search(text.encode("utf-8", "surrogatepass")) is None:
        return text
    changing = table.characters.intersection(_beyond_ascii(text))
    if len(changing) > _FEW:
        return text.translate(table.by_codepoint)
    for character in changing:  # nothing that the table writes is a character that it changes
        text = text.replace(character, table.by_character[character])
    return text


def fold_table() -> FoldTable | None:
    """Return the table in C, where that was built."""
    return _table().native


def fold(text: str) -> str:
    """Return the fold view: the plain one in small letters, which are as many."""
    return plain(text).lower()


def _beyond_ascii(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")


def plain_with_origins(text: str, first: int = 0) -> tuple[str, Sequence[int]]:
    """Return the plain view and, per character of it, the index in `text` (plus `first`) that it came from."""
    end = first + len(text)
    if text.isascii():
        return text, range(first, end)
    table = _table()
    if table.native is not None:
        folded, origins = table.native.plain_with_origins(text, first)
        return folded, range(first, end) if origins is None else origins
    if len(text) > _SHORT:
        raw = text.encode("utf-8", "replace")  # as many characters, whatever they are
        if table.uneven.search(raw) is None:
            return plain(text), range(first, end)
        uneven = [match.start() for match in islice(table.uneven.finditer(raw.decode()), len(text) // _SHORT + 1)]
        if len(uneven) <= len(text) // _SHORT:
            return plain(text), _around(uneven, text, first)
    elif table.uneven_characters.isdisjoint(text):
        return text.translate(table.by_codepoint), range(first, end)
    pieces = [table.by_character.get(character, character) for character in text]
    return "".join(pieces), [index for index, piece in enumerate(pieces, first) for _ in piece]


def _around(uneven: Iterable[int], text: str, first: int) -> list[int]:
    """Return the origins of a text in which few characters become none or several."""
    becomes = _table().by_character
    origins: list[int] = []
    done = 0
    for index in uneven:
        origins += range(first + done, first + index)
        origins += [first + index] * len(becomes[text[index]])
        done = index + 1
    return [*origins, *range(first + done, first + len(text))]


def fold_with_origins(text: str, first: int = 0) -> tuple[str, Sequence[int]]:
    """As `plain_with_origins`, for the fold view."""
    folded, origins = plain_with_origins(text, first)
    return folded.lower(), origins


def is_word_character(character: str) -> bool:
    r"""Whether RE2's `\b` would see a word character: ASCII only, so that 词word词 has its boundaries."""
    return character in _WORD


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

    They differ for a few Greek letters only: ν passes for v, its capital Ν for N. Latin terms of several words are also
    meant where a hyphen, an underscore, two spaces or the line's end stand between the words, or nothing.
    """
    if term.isascii():
        return frozenset(map(str.lower, _with_words_joined(term)))
    if term.lower() == term.upper():
        return frozenset({fold(term)})
    return frozenset(map(fold, (term, term.lower(), term.upper(), term.capitalize())))


def _with_words_joined(term: str) -> Iterator[str]:
    yield term
    if " " not in term:
        return
    words = term.split(" ")
    if not all(words[1:-1]):
        return
    yield from (joint.join(words) for joint in ("-", "_", "  "))
    if min(map(len, words)) >= _LEAST_JOINED:
        yield "".join(words)
    for place in range(1, len(words)):
        yield f"{' '.join(words[:place])}\n{' '.join(words[place:])}"
