"""Other spellings of terms: backwards, in rot13, in pinyin, with characters taken apart, with other numerals.

They are looked for in the fold view, all in one pass. Each is rare in text that means nothing by it; those that are not
(`SOFT_VIEWS`) are for flags only.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice, product
from typing import NamedTuple

from weir.guard.fold import fold, is_word_character
from weir.guard.literals import literals
from weir.guard.searched import Searched
from weir.guard.terms import Span, Use

_LEAST_LATIN = 5  # letters of a term that is looked for backwards and in rot13
_LEAST_HAN = 3  # characters of a term that is looked for backwards
_LEAST_PINYIN = 6  # letters
_MAX_READINGS = 4  # of one term, where characters have two
_MAX_MIXED = 6  # characters of a term of which one is looked for in pinyin
_VIEWS = ("reversed", "rot13", "numerals", "radicals", "pinyin")
_PRIVATE = 0xE000  # characters from here on stand for syllables
_ROT13 = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")
_BOUND = frozenset("扌氵讠钅亻忄犭纟艹辶阝刂饣疒礻衤宀囗彡攵冫")  # parts that are no characters of their own
_NUMERALS = (
    "0123456789",
    "零一二三四五六七八九",
    "〇一二三四五六七八九",
    "零壹贰叁肆伍陆柒捌玖",
    "零幺二三四五六七八九",
)
_DIGIT = {numeral: digit for style in _NUMERALS for digit, numeral in zip(_NUMERALS[0], style, strict=True)}
_HAN_DIGITS = "".join(dict.fromkeys("".join(_NUMERALS[1:])))
# What may be a number that a regex looks for, such as a telephone's: seven numerals, one of them Chinese.
NUMERAL_RUN = f"(?:[{_HAN_DIGITS}0-9][ .,-]?){{6}}[{_HAN_DIGITS}]|[{_HAN_DIGITS}](?:[ .,-]?[{_HAN_DIGITS}0-9]){{6}}"
HAN_NUMERALS = str.maketrans({numeral: digit for numeral, digit in _DIGIT.items() if not numeral.isascii()})


class _Spelling(NamedTuple):
    order: int
    view: str


class Spellings:
    """The other spellings of the terms of some rules. Immutable."""

    def __init__(self, uses: Sequence[Use]) -> None:
        meant: dict[str, tuple[_Spelling, ...]] = {}
        for use in uses:
            by_view = {
                view: (_Spelling(use.order, view),) for view in _VIEWS
            }  # shared: there are eight spellings of a term
            for term in map(fold, use.terms):
                for spelling, view in _spellings(term) if use.is_squeezed else ():
                    if spelling != term:
                        known, one = meant.get(spelling, ()), by_view[view]
                        meant[spelling] = known + one if known and one[0] not in known else one
        self._literals, self._meant = list(meant), list(meant.values())
        self._search = literals(self._literals, at_word=True) if meant else None

    def spans(self, folded: Searched) -> Iterator[Span]:
        if self._search is None:
            return
        for number, start, end in self._search.finds(folded):
            if _stands_free(folded.text, start, end):
                is_latin = self._literals[number].isascii()
                for order, view in self._meant[number]:
                    yield Span(start, end, order, view, is_latin)


class Homophones:
    """Terms of Chinese characters that sound as they should and are others. Immutable."""

    def __init__(self, uses: Sequence[Use]) -> None:
        sounds = _sounds()
        heard: dict[str, set[tuple[int, str]]] = {}
        for use in uses:
            for term in map(fold, use.terms):
                if use.is_squeezed and len(term) >= _LEAST_HAN + 1 and _is_han(term):
                    heard.setdefault(term.translate(sounds), set()).add((use.order, term))
        self._heard = list(heard.values())
        self._search = literals(list(heard), at_word=False, mapping=sounds) if heard else None

    def spans(self, folded: Searched) -> Iterator[Span]:
        if self._search is None or folded.text.isascii():
            return
        for number, start, end in self._search.finds(folded):
            written = folded.text[start:end]
            for order, term in self._heard[number]:
                if written != term:
                    yield Span(start, end, order, "homophone")


def _spellings(term: str) -> Iterator[tuple[str, str]]:
    """Yield the other spellings of a folded term and the view that each belongs to."""
    if term.isascii():
        letters = term.replace(" ", "")
        if letters.isalpha() and len(letters) >= _LEAST_LATIN:
            yield term[::-1], "reversed"
            yield term.translate(_ROT13), "rot13"
    elif len(term) >= _LEAST_HAN:
        yield term[::-1], "reversed"
    yield from ((spelling, "numerals") for spelling in _renumbered(term))
    if _is_han(term) and len(term) > 1:
        yield from ((spelling, "radicals") for spelling in _taken_apart(term))
        yield from ((spelling, "pinyin") for spelling in _in_pinyin(term))


def _renumbered(term: str) -> Iterator[str]:
    values = [_DIGIT.get(character) for character in term]
    count = len(term) - values.count(None)
    if count == 0 or (count == len(term) and count < 4):  # 37 is no spelling of 三七
        return
    for style in _NUMERALS:
        yield "".join(c if v is None else style[int(v)] for c, v in zip(term, values, strict=True))


def _taken_apart(term: str) -> Iterator[str]:
    """Yield the term with all its characters in parts, and with each alone."""
    choices = [_parts().get(character, ()) for character in term]
    whole = "".join(parts[0] if parts else character for character, parts in zip(term, choices, strict=True))
    if len(whole) > max(len(term), 3):  # 女子人 is no spelling of 好人
        yield whole
    for place, parts in enumerate(choices):
        for part in parts:
            if len(term) > 2 or not _BOUND.isdisjoint(part):
                yield term[:place] + part + term[place + 1 :]


def _in_pinyin(term: str) -> Iterator[str]:
    known = [_readings().get(character, ()) for character in term]
    if not all(known):
        return
    for syllables in islice(product(*known), _MAX_READINGS):
        if sum(map(len, syllables)) >= _LEAST_PINYIN:
            yield "".join(syllables)
            yield " ".join(syllables)
            yield "-".join(syllables)
    for place, (syllable, *_) in enumerate(known) if len(term) <= _MAX_MIXED else ():
        if len(syllable) > 1:
            yield term[:place] + syllable + term[place + 1 :]


@cache
def _parts() -> Mapping[str, tuple[str, ...]]:
    parts: dict[str, tuple[str, ...]] = {}
    for entry in files("weir.guard").joinpath("tables/split.txt").read_text("utf-8").split():
        parts[entry[0]] = (*parts.get(entry[0], ()), entry[1:])
    return parts


@cache
def _readings() -> Mapping[str, tuple[str, ...]]:
    """Return the syllables of a character, without tones, the usual one first."""
    readings: dict[str, tuple[str, ...]] = {}
    table = _pinyin()
    for place in (0, 1):
        for syllable, characters in table.items():
            for character in characters.split("|")[place]:
                readings[character] = (*readings.get(character, ()), syllable)
    return readings


@cache
def _sounds() -> dict[int, int]:
    """Return, for each character, one of private use that stands for its usual syllable."""
    numbered = enumerate(_pinyin().values(), _PRIVATE)
    sounds = {ord(character): sound for sound, characters in numbered for character in characters.split("|")[0]}
    others = (*range(128), *range(0x3000, 0xA000))
    return {code: code for code in others} | sounds  # characters that a table does not know are slow


@cache
def _pinyin() -> Mapping[str, str]:
    """Return the characters of each syllable: those that are mostly read so, a bar, those that sometimes are."""
    table: dict[str, str] = json.loads(files("weir.guard").joinpath("tables/pinyin.json").read_text("ascii"))
    return table


def _is_han(text: str) -> bool:
    return all("\u3400" <= character <= "\u9fff" for character in text)


def _stands_free(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit goes on where the find begins or ends with one."""
    left = is_word_character(text[start]) and start > 0 and is_word_character(text[start - 1])
    right = is_word_character(text[end - 1]) and end < len(text) and is_word_character(text[end])
    return not (left or right)
