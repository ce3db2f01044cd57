"""What looks for the terms of some rules: in C where that was built, in Python elsewhere."""

from collections.abc import Sequence
from functools import lru_cache

from weir.guard.core_terms import CoreTerms
from weir.guard.native.library import Core, core
from weir.guard.portable_terms import portable_indexes
from weir.guard.rules import Rule
from weir.guard.terms import TermIndex, Use, term_lists, uses_of


def term_indexes(rules: Sequence[Rule], *, is_streamed: bool) -> tuple[TermIndex, ...]:
    """Compile the terms of `rules`; a find's `order` is its rule's place in them."""
    native = core()
    return _indexes(uses_of(rules), native, is_streamed=is_streamed and native is None)


@lru_cache(maxsize=2)  # prompts and answers are often searched for the same lists
def _indexes(uses: Sequence[Use], native: Core | None, *, is_streamed: bool) -> tuple[TermIndex, ...]:
    terms = term_lists(uses)
    if native is None:
        return portable_indexes(terms, is_streamed=is_streamed)
    return (CoreTerms(native, terms),) if terms.written else ()
