"""Looks for terms in Python, with the automata of `ahocorasick_rs`: where the search in C was not built."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Generic, TypeVar

import ahocorasick_rs

from weir.guard.fold import is_word_character
from weir.guard.letters import MAX_GAP, has_leet, is_letter, leet, places, spelled_out, squeeze
from weir.guard.searched import Searched
from weir.guard.terms import (
    Span,
    SpelledTerm,
    Term,
    TermIndex,
    TermLists,
    as_spelled,
    is_word_at,
    reads_as,
    stands_free,
)

_KEY = 3  # last characters by which beginnings are looked up
_Meant = TypeVar("_Meant", Term, SpelledTerm)
_SAMPLE = "a b4 字"


def portable_indexes(terms: TermLists, *, is_streamed: bool) -> tuple[TermIndex, ...]:
    indexes: list[TermIndex] = [Written(terms.written)] if terms.written else []
    indexes += [Leet(terms.leet)] if terms.leet else []
    indexes += [Spelled(terms.spelled)] if terms.spelled else []
    for index in indexes if is_streamed else ():  # their beginnings are made when they are first asked for
        index.open_from(Searched(_SAMPLE), 0)
    return tuple(indexes)


class _Automaton(Generic[_Meant]):
    """Literals and the terms that each of them stands for."""

    def __init__(self, terms: Iterable[tuple[str, _Meant]]) -> None:
        self._terms: dict[str, list[_Meant]] = {}
        for literal, term in terms:
            self._terms.setdefault(literal, []).append(term)
        self._uses: list[list[_Meant]] = list(self._terms.values())
        self._automaton = ahocorasick_rs.AhoCorasick(list(self._terms))

    def finds(self, text: str) -> Iterator[tuple[int, int, _Meant]]:
        for literal, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            for term in self._uses[literal]:
                yield start, end, term


class _Beginnings:
    """What a find may start with: anywhere, or only where no word character precedes it. `ends`: how these end."""

    def __init__(self, beginnings: Iterable[tuple[str, bool]]) -> None:
        self._anywhere: set[str] = set()
        self._at_word: set[str] = set()
        for beginning, is_at_word in beginnings:
            (self._at_word if is_at_word else self._anywhere).add(beginning)
        masks: dict[str, int] = {}  # by last characters, a bit for each length: half the time of sets to build
        every = self._anywhere | self._at_word
        for beginning in every:
            if len(beginning) > _KEY:
                end = beginning[-_KEY:]
                masks[end] = masks.get(end, 0) | 1 << len(beginning)
        self._short = tuple(range(_KEY, 0, -1))
        lengths = {mask: (*_bits(mask), *self._short) for mask in set(masks.values())}
        self._lengths = {end: lengths[mask] for end, mask in masks.items()}
        self.ends = frozenset(beginning[-1] for beginning in every)

    def lengths(self, text: str) -> tuple[int, ...]:
        """Return how long the beginnings may be that end as `text` does, the longest first."""
        return self._lengths.get(text[-_KEY:], self._short)

    def holds(self, text: str, start: int, before: str = "", place: int = 0) -> bool:
        """Whether `text[start:]` is a beginning, where it stands behind `before[:place]`."""
        part = text[start:]
        return part in self._anywhere or (part in self._at_word and not is_word_at(before, place - 1))


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length(), -1, -1) if mask >> bit & 1]


class Written:
    """Terms as they are written."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self._automaton = _Automaton((term.folded, term) for term in terms)
        self._all = terms

    @cached_property
    def _begun(self) -> _Beginnings:  # large, and only streams need it
        parts = ((part, term.left) for term in self._all for part in _parts(term.folded, whole=term.right))
        return _Beginnings(parts)

    def spans(self, text: Searched, begin: int, *, is_end: bool) -> Iterator[Span]:
        for start, end, term in self._automaton.finds(text.text):
            if start >= begin and stands_free(text.text, start, end, term, is_end=is_end):
                yield Span(start, end, term.order, "fold", term.is_latin)

    def open_from(self, searched: Searched, begin: int) -> int:
        text, begun = searched.text, self._begun
        size = len(text)
        if text[-1:] in begun.ends:
            for length in begun.lengths(text):
                start = size - length
                if start >= begin and begun.holds(text, start, text, start):
                    return start
        return size


class Leet:
    """Latin terms some of whose letters are written as digits or signs; words of their own."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self._automaton = _Automaton((leet(term.folded), term) for term in terms)
        self._all = terms

    @cached_property
    def _begun(self) -> _Beginnings:
        return _Beginnings((part, True) for term in self._all for part in _parts(leet(term.folded), whole=True))

    def spans(self, searched: Searched, begin: int, *, is_end: bool) -> Iterator[Span]:
        text = searched.text
        if not has_leet(text):
            return
        for start, end, term in self._automaton.finds(leet(text)):
            free = term._replace(left=True, right=True)
            if (
                start >= begin
                and reads_as(text[start:end], term)
                and stands_free(text, start, end, free, is_end=is_end)
            ):
                yield Span(start, end, term.order, "leet")

    def open_from(self, searched: Searched, begin: int) -> int:
        text = searched.text
        size = len(text)
        if not has_leet(text):
            return size
        view = leet(text)
        for length in self._begun.lengths(view):
            start = size - length
            is_begun = start >= begin and self._begun.holds(view, start, text, start)
            if is_begun and has_leet(text[start:]):
                return start
        return size


class Spelled:
    """Terms with up to `MAX_GAP` separators between their letters, digits read as leet.

    Scripts written without spaces may have separators anywhere, others need one in every gap: words that merely follow
    one another do not make a find. Ends that are ASCII letters or digits must stand free.
    """

    def __init__(self, terms: Sequence[SpelledTerm]) -> None:
        self._automaton = _Automaton((leet(one.letters), one) for one in terms)
        self._all = terms
        # Then what consists of letters only is no business of this index: it reads as it is written.
        joined = [one for one in terms if one.is_joined]
        self._is_plain_enough = all(one.letters == one.term.folded for one in joined)
        self._is_free_enough = not any(term.left > is_word_character(term.folded[0]) for term, _, _ in joined)

    @cached_property
    def _joined(self) -> _Beginnings:
        return _Beginnings(_spelled_beginnings(one for one in self._all if one.is_joined))

    @cached_property
    def _apart(self) -> _Beginnings:
        return _Beginnings(_spelled_beginnings(one for one in self._all if not one.is_joined))

    def spans(self, searched: Searched, begin: int, *, is_end: bool) -> Iterator[Span]:
        text = searched.text
        if self._is_plain_enough and text.isalpha():
            return
        for low, high in spelled_out(text):
            for start, end, term in self._finds(text, low, high):
                if start >= begin and stands_free(text, start, end, term, is_end=is_end):
                    yield Span(start, end, term.order, "squeezed")

    def _finds(self, text: str, low: int, high: int) -> Iterator[tuple[int, int, Term]]:
        part = text[low:high]
        letters = squeeze(part)
        at: list[int] = []
        for first, last, one in self._automaton.finds(leet(letters)):
            at = at or places(part, letters)
            start, end = low + at[first], low + at[last - 1] + 1
            if not _is_spelled(at[first:last], is_joined=one.is_joined):
                continue
            spelled = as_spelled(text[start:end], letters[first:last], one)
            if spelled is not None:
                yield start, end, spelled

    def open_from(self, searched: Searched, begin: int) -> int:
        text = searched.text
        size = len(text)
        part = text[begin:]
        if self._is_plain_enough and self._is_free_enough and part.isalpha():
            return size
        last = _last_letter(text, max(begin, size - MAX_GAP - 1))
        if last < 0:
            return size
        end = leet(text[last])
        is_apart = end in self._apart.ends and not (_is_latin_at(text, last) and _is_latin_at(text, last - 1))
        if not is_apart and end not in self._joined.ends:
            return size
        letters = leet(squeeze(part))
        start = _open(self._joined, text, letters, least=0)
        return min(start, _open(self._apart, text, letters, least=1)) if is_apart else start


def _is_latin_at(text: str, index: int) -> bool:
    return index >= 0 and text[index].isascii() and text[index].isalnum()


def _last_letter(text: str, begin: int) -> int:
    """Return the place of the last letter that is not before `begin`; -1 if there is none."""
    place = len(text) - 1
    while place >= begin and not is_letter(text[place]):
        place -= 1
    return place if place >= begin else -1


def _open(begun: _Beginnings, text: str, letters: str, *, least: int) -> int:
    """Return where the longest beginning starts that `text` ends in; `letters` are its last ones."""
    size = len(letters)
    if letters[-1] in begun.ends:
        for length in begun.lengths(letters):
            if length <= size and begun.holds(letters, size - length):
                start = _start_of(length, text, least=least)
                if start >= 0 and begun.holds(letters, size - length, text, start):
                    return start
    return len(text)


def _start_of(count: int, text: str, *, least: int) -> int:
    """Return where the last `count` letters begin; -1 if not `least` to `MAX_GAP` separators stand between each two."""
    start = place = _last_letter(text, 0)
    for _ in range(count - 1):
        place = _last_letter(text[:place], max(0, place - MAX_GAP - 1))
        if not 0 <= place < start - least:
            return -1
        start = place
    return start


def _spelled_beginnings(terms: Iterable[SpelledTerm]) -> Iterator[tuple[str, bool]]:
    for one in terms:
        for part in _parts(leet(one.letters), whole=is_word_character(one.letters[-1])):
            yield part, is_word_character(one.letters[0])


def _chain(places: Sequence[int], *, least: int) -> int:
    """Return how many of the last letters have `least` to `MAX_GAP` separators between one another."""
    count = 1
    while count < len(places) and least <= places[-count] - places[-count - 1] - 1 <= MAX_GAP:
        count += 1
    return count


def _is_spelled(places: Sequence[int], *, is_joined: bool) -> bool:
    return _chain(places, least=0 if is_joined else 1) == len(places)


def _parts(literal: str, *, whole: bool) -> Iterator[str]:
    """Yield the beginnings of a literal; `whole`: it too, as long as it waits for what follows it."""
    return (literal[:length] for length in range(1, len(literal) + whole))
