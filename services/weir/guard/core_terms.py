"""Looks for terms with the search in C: all three ways in one call, which also tells what may still become a term."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from weir.guard.fold import is_word_character
from weir.guard.letters import is_joined_script, leet, squeeze
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
from weir.guard.terms import Span, Term, TermLists, as_spelled, reads_as, stands_free

_WRITTEN, _LEET = 0, 1  # kinds of finds; the others are spelled out

_Literal = tuple[str, int]  # with what its term asks for


class CoreTerms:
    """Immutable."""

    def __init__(self, core: Core, terms: TermLists) -> None:
        joined = [term for term in terms.spelled if is_joined_script(squeeze(term.folded))]
        apart = [term for term in terms.spelled if not is_joined_script(squeeze(term.folded))]
        kinds: tuple[tuple[Sequence[Term], Callable[[Term], _Literal]], ...] = (
            (terms.written, _as_written),
            (terms.leet, _in_leet),
            (joined, _spelled_out),
            (apart, _spelled_out),
        )
        built = [_built(core, some, literal) for some, literal in kinds]
        self._sets = TermSets(core, [made for made, _ in built])
        self._meant = [meant for _, meant in built]
        is_plain = all(squeeze(term.folded) == term.folded for term in joined)
        is_free = not any(term.left > is_word_character(term.folded[0]) for term in joined)
        self._is_letters_only = is_plain and is_free  # then letters alone are begun as they are written, if at all

    def spans(self, text: Searched, begin: int, *, is_end: bool) -> Iterator[Span]:
        for kind, literal, start, end in self._look(text, begin, wants_open=not is_end)[1]:
            for term in self._meant[kind][literal]:
                span = _span(text.text, kind, start, end, term, is_end=is_end)
                if span is not None:
                    yield span

    def open_from(self, text: Searched, begin: int) -> int:
        return self._look(text, begin, wants_open=True)[0]

    def _look(self, text: Searched, begin: int, *, wants_open: bool) -> tuple[int, Sequence[Find]]:
        """Both questions are mostly asked of the same text: the second time the answer is there."""
        if text.looked is not None and text.looked[0] is self and text.looked[1] == begin:
            is_enough = text.looked[2] or not wants_open
            if is_enough:
                found: tuple[int, Sequence[Find]] = text.looked[3]
                return found
        options = 0 if wants_open else NO_OPEN
        if wants_open and self._is_letters_only and text.text[begin:].isalpha():
            options = NO_SPELLED_OPEN
        found = self._sets.look(text.wide, begin, options)
        text.looked = (self, begin, wants_open, found)
        return found


def _span(text: str, kind: int, start: int, end: int, term: Term, *, is_end: bool) -> Span | None:
    if kind == _WRITTEN:
        is_free = stands_free(text, start, end, term, is_end=is_end)
        return Span(start, end, term.order, "fold", term.is_latin) if is_free else None
    part = text[start:end]
    if kind == _LEET:
        read = term._replace(left=True, right=True) if reads_as(part, term) else None
    else:
        read = as_spelled(part, squeeze(part), term)
    if read is None or not stands_free(text, start, end, read, is_end=is_end):
        return None
    return Span(start, end, term.order, "leet" if kind == _LEET else "squeezed")


def _built(
    core: Core, terms: Iterable[Term], literal: Callable[[Term], _Literal]
) -> tuple[LiteralSet | None, list[list[Term]]]:
    """Return the set of the terms' literals, and the terms that each of these stands for."""
    meant: dict[str, list[Term]] = {}
    flags: dict[str, int] = {}
    for term in terms:
        written, asked = literal(term)
        if written in meant:
            meant[written].append(term)
            flags[written] = flags[written] | asked if flags[written] & asked & PLAIN else (flags[written] | asked) & ~PLAIN
        else:
            meant[written], flags[written] = [term], asked
    if not meant:
        return None, []
    return LiteralSet(core, list(meant), bytes(flags.values())), list(meant.values())


def _as_written(term: Term) -> _Literal:
    return term.folded, _asked(is_left=term.left, is_right=term.right)


def _in_leet(term: Term) -> _Literal:
    return leet(term.folded), _asked(is_left=True, is_right=True)


def _spelled_out(term: Term) -> _Literal:
    written = squeeze(term.folded)
    asked = _asked(is_left=is_word_character(written[0]), is_right=is_word_character(written[-1]))
    return leet(written), asked | PLAIN if written == term.folded else asked


def _asked(*, is_left: bool, is_right: bool) -> int:
    begins, waits = (AT_WORD, WAITS_AT_WORD) if is_left else (ANYWHERE, WAITS_ANYWHERE)
    return begins | waits if is_right else begins
