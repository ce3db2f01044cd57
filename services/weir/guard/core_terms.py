"""Looks for terms with the search in C: all three ways in one call, which also tells what may still become a term."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from weir.guard.fold import is_word_character
from weir.guard.letters import leet, squeeze
from weir.guard.native.library import (
    ANYWHERE,
    AT_WORD,
    NO_OPEN,
    NO_SPELLED_OPEN,
    PLAIN,
    WAITS_ANYWHERE,
    WAITS_AT_WORD,
    Core,
    Find,
    LiteralSet,
    TermSets,
)
from weir.guard.searched import Searched
from weir.guard.terms import Span, SpelledTerm, Term, TermLists, as_spelled, reads_as, stands_free

_WRITTEN, _LEET, _JOINED = 0, 1, 2  # kinds of finds; what follows them is spelled out too

_Literal = tuple[str, int]  # with what its term asks for
_Meant = TypeVar("_Meant", Term, SpelledTerm)


class CoreTerms:
    """Immutable."""

    def __init__(self, core: Core, terms: TermLists) -> None:
        joined = [one for one in terms.spelled if one.is_joined]
        apart = [one for one in terms.spelled if not one.is_joined]
        written, self._written = _built(core, terms.written, _as_written)
        leets, self._leet = _built(core, terms.leet, _in_leet)
        (joints, meant), (parts, others) = _built(core, joined, _spelled_out), _built(core, apart, _spelled_out)
        self._spelled = (meant, others)
        self.sets = TermSets(core, [written, leets, joints, parts])
        is_plain = all(one.letters == one.term.folded for one in joined)
        is_free = not any(term.left > is_word_character(term.folded[0]) for term, _, _ in joined)
        self.is_letters_only = is_plain and is_free  # then letters alone are begun as they are written, if at all

    def spans(self, text: Searched, begin: int, *, is_end: bool) -> Sequence[Span]:
        found = self._look(text, begin, wants_open=not is_end)[1]
        if not found:
            return ()
        spans: list[Span | None] = []
        for kind, literal, start, end in found:
            spans += self._read(kind, literal, text.text, start, end, is_end=is_end)
        return [span for span in spans if span is not None]

    def _read(self, kind: int, literal: int, text: str, start: int, end: int, *, is_end: bool) -> list[Span | None]:
        if kind == _WRITTEN:
            some = [one for one in self._written[literal] if stands_free(text, start, end, one, is_end=is_end)]
            return [Span(start, end, term.order, "fold", term.is_latin) for term in some]
        if kind == _LEET:
            return [_in_leet_at(text, start, end, term, is_end=is_end) for term in self._leet[literal]]
        return [_spelled_at(text, start, end, one, is_end=is_end) for one in self._spelled[kind - _JOINED][literal]]

    def open_from(self, text: Searched, begin: int) -> int:
        return self._look(text, begin, wants_open=True)[0]

    def _look(self, text: Searched, begin: int, *, wants_open: bool) -> tuple[int, Sequence[Find]]:
        """Both questions are mostly asked of the same text: the second time the answer is there."""
        known = text.looked.get(self)
        if known is not None and known[0] == begin and (known[1] or not wants_open):
            found: tuple[int, Sequence[Find]] = known[2]
            return found
        options = 0 if wants_open else NO_OPEN
        if wants_open and self.is_letters_only and text.text[begin:].isalpha():
            options = NO_SPELLED_OPEN
        found = self.sets.look(text.wide, begin, options)
        text.looked[self] = (begin, wants_open, found)
        return found


def _in_leet_at(text: str, start: int, end: int, term: Term, *, is_end: bool) -> Span | None:
    is_read = reads_as(text[start:end], term)
    free = term._replace(left=True, right=True)
    is_free = is_read and stands_free(text, start, end, free, is_end=is_end)
    return Span(start, end, term.order, "leet") if is_free else None


def _spelled_at(text: str, start: int, end: int, one: SpelledTerm, *, is_end: bool) -> Span | None:
    part = text[start:end]
    read = as_spelled(part, squeeze(part), one)
    is_free = read is not None and stands_free(text, start, end, read, is_end=is_end)
    return Span(start, end, one.term.order, "squeezed") if is_free else None


def _built(
    core: Core, terms: Iterable[_Meant], literal: Callable[[_Meant], _Literal]
) -> tuple[LiteralSet | None, list[list[_Meant]]]:
    """Return the set of the terms' literals, and the terms that each of these stands for."""
    meant: dict[str, list[_Meant]] = {}
    flags: dict[str, int] = {}
    for term in terms:
        written, asked = literal(term)
        if written in meant:
            meant[written].append(term)
            flags[written] = (
                flags[written] | asked if flags[written] & asked & PLAIN else (flags[written] | asked) & ~PLAIN
            )
        else:
            meant[written], flags[written] = [term], asked
    if not meant:
        return None, []
    return LiteralSet(core, list(meant), bytes(flags.values())), list(meant.values())


def _as_written(term: Term) -> _Literal:
    return term.folded, _asked(is_left=term.left, is_right=term.right)


def _in_leet(term: Term) -> _Literal:
    return leet(term.folded), _asked(is_left=True, is_right=True)


def _spelled_out(one: SpelledTerm) -> _Literal:
    asked = _asked(is_left=is_word_character(one.letters[0]), is_right=is_word_character(one.letters[-1]))
    return leet(one.letters), asked | PLAIN if one.letters == one.term.folded else asked


def _asked(*, is_left: bool, is_right: bool) -> int:
    begins, waits = (AT_WORD, WAITS_AT_WORD) if is_left else (ANYWHERE, WAITS_ANYWHERE)
    return begins | waits if is_right else begins
