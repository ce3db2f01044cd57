"""Terms with letters drawn out (haaack, 敏敏感感词词)."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from string import ascii_lowercase

from weir.guard.fold import fold, is_word_character
from weir.guard.literals import literals
from weir.guard.native.library import core, drawn_out
from weir.guard.searched import Searched
from weir.guard.terms import Span, Use

LATIN_RUNS = "|".join(f"{letter}{{3}}" for letter in ascii_lowercase)  # what makes it worth a look, in folded text
_LATIN = ascii_lowercase + " "
_LEAST_LETTERS = 3  # of a term
_MAX_CHARACTERS = 32  # that are drawn out in one text, beside the Latin letters
_BYTES = 4  # of a character in UTF-32
_LANE = 8 * _BYTES
_SAME = bytes(_BYTES)
_ASCII = bytes(range(128))


class Repeats:
    """The terms of some rules with no letter twice in a row. Immutable."""

    def __init__(self, uses: Sequence[Use]) -> None:
        short: dict[str, set[tuple[int, str]]] = {}
        for use in uses:
            for term in map(fold, use.terms):
                if use.is_squeezed and (len(term) >= _LEAST_LETTERS or (len(term) > 1 and not term.isascii())):
                    short.setdefault(_once(term), set()).add((use.order, term))
        self._meant = list(short.values())
        self._search = literals(list(short), at_word=True) if short else None

    def spans(self, folded: Searched, *, has_latin_runs: bool) -> Iterator[Span]:
        letters = (_LATIN if has_latin_runs else "") + "".join(_repeated(folded))
        if self._search is None or not letters:
            return
        for number, start, end in self._search.finds_drawn_out(folded, letters):
            if _is_drawn_out(folded.text, start, end):
                for order, term in self._meant[number]:
                    if term != folded.text[start:end]:
                        yield Span(start, end, order, "repeats", term.isascii())


def _once(term: str) -> str:
    """Return a term with no letter twice in a row."""
    return term if len(set(term)) == len(term) else "".join([letter for letter, _ in groupby(term)])


def _is_drawn_out(text: str, start: int, end: int) -> bool:
    """Whether it is a word of its own with a letter three times in a row, or each at least twice."""
    if is_word_character(text[start]) and start > 0 and is_word_character(text[start - 1]):
        return False
    if is_word_character(text[end - 1]) and end < len(text) and is_word_character(text[end]):
        return False
    runs = [len(list(run)) for _, run in groupby(text[start:end])]
    return max(runs) >= 3 or min(runs) >= 2


def _repeated(folded: Searched) -> Iterator[str]:
    """Yield the characters, but for ASCII, that stand three times in a row, or twice beside another that does.

    Such a one counts as one from then on.
    """
    text, native = folded.text, core()
    if text.isascii():
        return
    if native is not None:
        yield from drawn_out(native, folded.wide)
        return
    rest = text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "ignore")
    for _ in range(_MAX_CHARACTERS):
        place = _first_run(rest)
        if place is None:
            return
        for letter in {rest[place], rest[place + 2]}:
            yield letter
            while letter * 2 in rest:
                rest = rest.replace(letter * 2, letter)


def _first_run(text: str) -> int | None:
    """Return where AAA or AABB begins, if it does. All characters are compared at once, as lanes of one number."""
    size = len(text)
    if size < 3:
        return None
    number = int.from_bytes(text.encode("utf-32-le"), "little")
    differs = number ^ (number >> _LANE)
    places = []
    for differing in (differs | differs >> _LANE, differs | differs >> 2 * _LANE):
        lanes = differing.to_bytes(_BYTES * size, "little")
        place = lanes.find(_SAME, 0, _BYTES * (size - 2))
        while place % _BYTES and place > 0:
            place = lanes.find(_SAME, place + 1, _BYTES * (size - 2))
        places += [place // _BYTES] if place >= 0 else []
    return min(places, default=None)
