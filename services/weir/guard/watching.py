"""What watches the ordinary part of streams in C, under some rules."""

from collections.abc import Sequence

from weir.guard.automata import automaton_of
from weir.guard.beginnings import compiled_beginnings
from weir.guard.core_terms import CoreTerms
from weir.guard.fold import fold_table
from weir.guard.indexes import Placed
from weir.guard.native.library import TermSets, Watcher, core
from weir.guard.patterns import Pattern
from weir.guard.terms import TermIndex

_MOST_TERMS = 16  # lists of terms


def watcher_of(terms: Sequence[TermIndex], patterns: Sequence[Pattern]) -> Watcher | None:
    """Return what watches streams under these rules; None: nothing was built that does, or they are too much for it."""
    native, table = core(), fold_table()
    if native is None or table is None or len(terms) > _MOST_TERMS:
        return None
    sets = [_sets(index) for index in terms]
    automaton = automaton_of(native, tuple(patterns)) if patterns else None
    if patterns and automaton is None:
        return None
    begun = compiled_beginnings(native, tuple(patterns))
    known = [one for one in sets if one is not None]
    if len(known) != len(sets):
        return None
    return Watcher(native, table, automaton, None if begun is None else begun.held, known)


def _sets(index: TermIndex) -> tuple[TermSets, bool] | None:
    index = index.index if isinstance(index, Placed) else index
    return (index.sets, index.is_letters_only) if isinstance(index, CoreTerms) else None
