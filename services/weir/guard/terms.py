"""Finds terms in folded text: as they are written, in leet, and spelled out with something between their letters.

Each index answers two questions about a text that may go on: which terms stand in it, and from where on its end could
still become one. All positions are those of the folded text.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import ahocorasick_rs

from weir.contracts.errors import UsageError
from weir.guard.fold import is_word_character, spellings
from weir.guard.letters import (
    MAX_GAP,
    differs_by_leet,
    has_leet,
    is_joined_script,
    is_letter,
    leet,
    places,
    spelled_out,
    squeeze,
)
from weir.guard.rules import MAX_HOLD, Boundary, Rule

_LEAST_LETTERS = 4  # of a term that is looked for in leet or spelled out letter by letter
_KEY = 3  # last characters by which beginnings are looked up
_LEAST_UNCHANGED = 2  # letters that leet must leave as they are


class Span(NamedTuple):
    """Where a rule holds in a view: `[start, end)`. `is_latin`: it holds for a term written in ASCII."""

    start: int
    end: int
    order: int
    view: str
    is_latin: bool = False


class TermIndex(Protocol):
    def spans(self, text: str, begin: int, *, is_end: bool) -> Iterator[Span]:
        """Yield the finds that start at or behind `begin`. `text[:begin]` is context; `is_end`: nothing follows."""
        ...

    def open_from(self, text: str, begin: int) -> int:
        """Return where the longest end of `text` starts, not before `begin`, that more text may make a find."""
        ...


def term_indexes(rules: Sequence[Rule]) -> tuple[TermIndex, ...]:
    """Compile the terms of `rules`; a find's `order` is its rule's place in them."""
    uses = (
        _Use(order, r.id, r.terms, r.boundary, is_squeezed=r.is_squeezed) for order, r in enumerate(rules) if r.terms
    )
    return _indexes(tuple(uses))


class _Use(NamedTuple):
    order: int
    rule: str
    terms: tuple[str, ...]
    boundary: Boundary
    is_squeezed: bool


@lru_cache(maxsize=2)  # prompts and answers are often searched for the same lists
def _indexes(uses: Sequence[_Use]) -> tuple[TermIndex, ...]:
    terms = list(dict.fromkeys(term for use in uses for term in _terms(use)))
    squeezed = [term for term in terms if term.is_squeezed]
    leets = [
        term for term in squeezed if term.folded.isascii() and sum(map(str.isalpha, term.folded)) >= _LEAST_LETTERS
    ]
    spelled = [term for term in squeezed if _may_be_spelled(term.folded)]
    spelled = list({(term.order, squeeze(term.folded)): term for term in reversed(spelled)}.values())
    kinds = ((_Written, terms), (_Leet, leets), (_Spelled, spelled))
    return tuple(kind(some) for kind, some in kinds if some)


class _Term(NamedTuple):
    order: int
    folded: str
    left: bool  # must not follow a word character
    right: bool  # must not be followed by one
    is_squeezed: bool
    is_latin: bool


def _terms(use: _Use) -> Iterator[_Term]:
    for written in use.terms:
        for folded in sorted(spellings(written)):
            if len(folded) > MAX_HOLD:
                raise UsageError(f"rule {use.rule!r}: a term has more than {MAX_HOLD} characters")
            if folded:
                bounds = _bounds(use.boundary, folded)
                yield _Term(use.order, folded, *bounds, use.is_squeezed, written.isascii())


def _bounds(boundary: Boundary, folded: str) -> tuple[bool, bool]:
    if boundary == "substring":
        return False, False
    if boundary == "word":
        return True, True
    return is_word_character(folded[0]), is_word_character(folded[-1])


def _may_be_spelled(folded: str) -> bool:
    letters = squeeze(folded)
    return (2 if is_joined_script(letters) else _LEAST_LETTERS) <= len(letters) <= MAX_HOLD // (MAX_GAP + 1)


class _Automaton:
    """Literals and the terms that each of them stands for."""

    def __init__(self, terms: Iterable[tuple[str, _Term]]) -> None:
        self._terms: dict[str, list[_Term]] = {}
        for literal, term in terms:
            self._terms.setdefault(literal, []).append(term)
        self._uses = list(self._terms.values())
        self._automaton = ahocorasick_rs.AhoCorasick(list(self._terms))

    def finds(self, text: str) -> Iterator[tuple[int, int, _Term]]:
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
        return part in self._anywhere or (part in self._at_word and not _is_word_at(before, place - 1))


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length(), -1, -1) if mask >> bit & 1]


class _Written:
    """Terms as they are written."""

    def __init__(self, terms: Sequence[_Term]) -> None:
        self._automaton = _Automaton((term.folded, term) for term in terms)
        self._all = terms

    @cached_property
    def _begun(self) -> _Beginnings:  # large, and only streams need it
        parts = ((part, term.left) for term in self._all for part in _parts(term.folded, whole=term.right))
        return _Beginnings(parts)

    def spans(self, text: str, begin: int, *, is_end: bool) -> Iterator[Span]:
        for start, end, term in self._automaton.finds(text):
            if start >= begin and _stands_free(text, start, end, term, is_end=is_end):
                yield Span(start, end, term.order, "fold", term.is_latin)

    def open_from(self, text: str, begin: int) -> int:
        size, begun = len(text), self._begun
        if text[-1:] in begun.ends:
            for length in begun.lengths(text):
                start = size - length
                if start >= begin and begun.holds(text, start, text, start):
                    return start
        return size


class _Leet:
    """Latin terms some of whose letters are written as digits or signs; words of their own."""

    def __init__(self, terms: Sequence[_Term]) -> None:
        self._automaton = _Automaton((leet(term.folded), term) for term in terms)
        self._all = terms

    @cached_property
    def _begun(self) -> _Beginnings:
        return _Beginnings((part, True) for term in self._all for part in _parts(leet(term.folded), whole=True))

    def spans(self, text: str, begin: int, *, is_end: bool) -> Iterator[Span]:
        if not has_leet(text):
            return
        for start, end, term in self._automaton.finds(leet(text)):
            free = term._replace(left=True, right=True)
            if (
                start >= begin
                and _reads_as(text[start:end], term)
                and _stands_free(text, start, end, free, is_end=is_end)
            ):
                yield Span(start, end, term.order, "leet")

    def open_from(self, text: str, begin: int) -> int:
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


def _reads_as(text: str, term: _Term) -> bool:
    if text == term.folded or not differs_by_leet(text, term.folded):
        return False
    return sum(a == b and a.isalpha() for a, b in zip(text, term.folded, strict=True)) >= _LEAST_UNCHANGED


class _Spelled:
    """Terms with up to `MAX_GAP` separators between their letters, digits read as leet.

    Scripts written without spaces may have separators anywhere, others need one in every gap: words that merely follow
    one another do not make a find. Ends that are ASCII letters or digits must stand free.
    """

    def __init__(self, terms: Sequence[_Term]) -> None:
        self._automaton = _Automaton((leet(squeeze(term.folded)), term) for term in terms)
        self._all = terms
        # Then what consists of letters only is no business of this index: it reads as it is written.
        joined = [term for term in terms if is_joined_script(term.folded)]
        self._is_plain_enough = all(squeeze(term.folded) == term.folded for term in joined)
        self._is_free_enough = not any(term.left > is_word_character(term.folded[0]) for term in joined)

    @cached_property
    def _joined(self) -> _Beginnings:
        return _Beginnings(_spelled_beginnings(self._all, is_joined=True))

    @cached_property
    def _apart(self) -> _Beginnings:
        return _Beginnings(_spelled_beginnings(self._all, is_joined=False))

    def spans(self, text: str, begin: int, *, is_end: bool) -> Iterator[Span]:
        if self._is_plain_enough and text.isalpha():
            return
        for low, high in spelled_out(text):
            for start, end, term in self._finds(text, low, high):
                if start >= begin and _stands_free(text, start, end, term, is_end=is_end):
                    yield Span(start, end, term.order, "squeezed")

    def _finds(self, text: str, low: int, high: int) -> Iterator[tuple[int, int, _Term]]:
        part = text[low:high]
        letters = squeeze(part)
        at: list[int] = []
        for first, last, term in self._automaton.finds(leet(letters)):
            at = at or places(part, letters)
            start, end = low + at[first], low + at[last - 1] + 1
            if not _is_spelled(at[first:last], is_joined=is_joined_script(term.folded)):
                continue
            read, written = letters[first:last], squeeze(term.folded)
            if text[start:end] != term.folded and (read == written or differs_by_leet(read, written)):
                is_free = is_word_character(written[0]), is_word_character(written[-1])
                yield start, end, term._replace(left=is_free[0], right=is_free[1])

    def open_from(self, text: str, begin: int) -> int:
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


def _spelled_beginnings(terms: Iterable[_Term], *, is_joined: bool) -> Iterator[tuple[str, bool]]:
    for term in terms:
        if is_joined_script(term.folded) is is_joined:
            letters = leet(squeeze(term.folded))
            written = squeeze(term.folded)
            for part in _parts(letters, whole=is_word_character(written[-1])):
                yield part, is_word_character(written[0])


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


def _stands_free(text: str, start: int, end: int, term: _Term, *, is_end: bool) -> bool:
    if term.left and _is_word_at(text, start - 1):
        return False
    return not term.right or (not _is_word_at(text, end) if end < len(text) else is_end)


def _is_word_at(text: str, index: int) -> bool:
    return 0 <= index < len(text) and is_word_character(text[index])
