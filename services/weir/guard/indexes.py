"""What looks for the terms of some rules: in C where that was built, in Python elsewhere."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from weir.guard.core_terms import CoreTerms
from weir.guard.native.library import Core, core
from weir.guard.portable_terms import portable_indexes
from weir.guard.rules import Rule
from weir.guard.searched import Searched
from weir.guard.terms import Span, TermIndex, Use, term_lists, uses_of

_MANY = 500  # terms of a list that is compiled by itself: prompts, answers and the next policy share it


def term_indexes(rules: Sequence[Rule], *, is_streamed: bool) -> tuple[TermIndex, ...]:
    """Compile the terms of `rules`; a find's `order` is its rule's place in them."""
    native = core()
    is_streamed = is_streamed and native is None
    uses = uses_of(rules)
    few = tuple(use for use in uses if len(use.terms) < _MANY)
    many = [use for use in uses if len(use.terms) >= _MANY]
    return (*_indexes(few, native, is_streamed=is_streamed), *_placed(many, native, is_streamed=is_streamed))


def _placed(uses: Iterable[Use], native: Core | None, *, is_streamed: bool) -> Iterator[TermIndex]:
    for use in uses:
        for index in _indexes((use._replace(order=0),), native, is_streamed=is_streamed):
            yield Placed(index, use.order)


@lru_cache(maxsize=8)
def _indexes(uses: Sequence[Use], native: Core | None, *, is_streamed: bool) -> tuple[TermIndex, ...]:
    terms = term_lists(uses)
    if native is None:
        return portable_indexes(terms, is_streamed=is_streamed)
    return (CoreTerms(native, terms),) if terms.written else ()


class Placed:
    """An index of one rule's terms, where that is not the first rule."""

    def __init__(self, index: TermIndex, order: int) -> None:
        self.index = index
        self._order = order
        self.open_from = index.open_from

    def spans(self, text: Searched, begin: int, *, is_end: bool) -> Iterable[Span]:
        found = self.index.spans(text, begin, is_end=is_end)
        return [span._replace(order=self._order) for span in found] if found else ()
