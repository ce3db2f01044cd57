"""Finds rules in text: terms by Aho-Corasick in the fold view, regexes by RE2 in the plain one."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter, lt
from types import MappingProxyType
from typing import TypeVar

from weir.contracts.errors import UsageError
from weir.guard.fold import fold, is_foreign_word, plain, plain_with_origins
from weir.guard.indexes import term_indexes
from weir.guard.regexes import Regexes, Validators
from weir.guard.rules import MAX_HOLD, STRENGTH, Action, CertainFind, Find, Rule
from weir.guard.searched import Encoded, Searched
from weir.guard.terms import Span
from weir.guard.watching import watcher_of

_AnyFind = TypeVar("_AnyFind", Find, CertainFind)
_START = itemgetter(0)
_SEVERAL = 2
NO_VALIDATORS: Validators = MappingProxyType({})


class Matcher:
    """One direction's rules, compiled. Immutable and shared by all requests."""

    def __init__(
        self,
        rules: Sequence[Rule],
        allow: Iterable[str] = (),
        validators: Validators = NO_VALIDATORS,
        *,
        is_streamed: bool = True,
    ) -> None:
        """Compile `rules`; `allow`: exact finds that are fine.

        Raises:
            UsageError: a regex cannot be taken, or a stream could not follow it; the message names the rule.
        """
        self.rules = tuple(rules)
        self.allow = frozenset(map(fold, allow)) - {""}
        if any(len(entry) > MAX_HOLD for entry in self.allow):
            raise UsageError(f"allow: an entry has more than {MAX_HOLD} characters")
        self.terms = term_indexes(self.rules, is_streamed=is_streamed)
        self.regexes = Regexes(self.rules, self.allow, validators, is_streamed=is_streamed)
        self.watcher = watcher_of(self.terms, self.regexes.patterns) if is_streamed else None

    def scan(self, text: str) -> list[Find]:
        """Return all finds in a whole text, in the order in which they count (see `rank`)."""
        spans = list(self.spans(Encoded(plain(text))))
        if not spans:
            return []
        _, origins = plain_with_origins(text)
        located = ((Find(origins[s.start], origins[s.end - 1] + 1, s.order, s.view), s.is_latin) for s in spans)
        finds = {find for find, is_latin in located if not (is_latin and is_foreign_word(text[find.start : find.end]))}
        return self.ranked(finds)

    def open_from(self, text: Encoded, folded: Searched, begin: int, *, closely: bool = False) -> int:
        """Return where the longest end of the text starts, not before `begin`, that more text may make a find."""
        start = self.regexes.open_from(text, begin, closely=closely)
        for index in self.terms:
            if start > begin:
                start = min(start, index.open_from(folded, begin))
        return start

    def term_spans(self, folded: Searched, begin: int, *, is_end: bool) -> list[Span]:
        """Return the terms that start at or behind `begin`; `folded[:begin]` is context. `is_end`: nothing follows."""
        found: list[Span] = []
        for index in self.terms:
            found += index.spans(folded, begin, is_end=is_end)
        if found and self.allow:
            return [span for span in found if not self._is_allowed(span, folded.text)]
        return found

    def action(self, find: Find) -> Action:
        return self.rules[find.order].action

    def rank(self, find: Find | CertainFind) -> tuple[int, int, int]:
        """Sort finds by where they start, then the stronger action first, then the earlier rule."""
        return find[0], -STRENGTH[self.rules[find[2]].action], find[2]

    def ranked(self, finds: Iterable[_AnyFind]) -> list[_AnyFind]:
        """Return finds in the order in which they count."""
        found = list(finds)
        if len(found) < _SEVERAL or _is_rising(found):  # mostly one pattern's
            return found
        found.sort(key=_START)
        return found if _is_rising(found) else sorted(found, key=self.rank)

    def spans(self, text: Encoded) -> Iterator[Span]:
        """Yield the finds in the plain view of a whole text."""
        yield from self.term_spans(text.folded, 0, is_end=True)
        yield from self.regex_spans(text)

    def regex_spans(self, text: Encoded) -> Iterator[Span]:
        return (Span(*find) for find in self.regexes.finds(text))

    def _is_allowed(self, span: Span, folded: str) -> bool:
        return not self.rules[span.order].is_secret and folded[span.start : span.end] in self.allow


def _is_rising(finds: Sequence[_AnyFind]) -> bool:
    """Whether each starts behind the one before it."""
    starts = list(map(_START, finds))
    return all(map(lt, starts, islice(starts, 1, None)))
