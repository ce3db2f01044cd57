"""Finds rules in folded text: Aho-Corasick for terms, RE2 for e-mail addresses. Python's `re` is never used here."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import ahocorasick_rs
import re2

from weir.guard.fold import fold, is_word_character
from weir.guard.policy import Action, Rule

_LOCAL = r"[a-z0-9._%+-]{1,64}"
_DOMAIN = r"[a-z0-9][a-z0-9.-]{0,229}"  # with a top level of at most 24 letters: 255 characters
_LONGEST_EMAIL = 64 + 1 + 255
_EMAIL = f"{_LOCAL}@{_DOMAIN}[.][a-z]{{2,24}}"
# Every prefix of a match of _EMAIL, at the end of the text: what may still become an address.
_EMAIL_BEGUN = rf"{_LOCAL}(?:@(?:{_DOMAIN}(?:[.][a-z]{{0,24}})?)?)?\z"
_EMAIL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._%+-@")


class Span(NamedTuple):
    """A find in folded text, `[start, end)`. Sorts by where it starts, then blocks first, then the earlier rule."""

    start: int
    redacts: bool
    order: int
    end: int


class Found(NamedTuple):
    """`email_to`: where the last e-mail address ended, an allowed one included; the next search goes on from there."""

    spans: list[Span]
    email_to: int


class _Term(NamedTuple):
    order: int
    boundary_left: bool
    boundary_right: bool


class Matcher:
    """One phase's rules, compiled. Immutable and shared by all requests."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._terms: dict[str, list[_Term]] = {}
        for order, rule in enumerate(self.rules):
            for folded in map(fold, rule.terms):
                self._terms.setdefault(folded, []).append(_term(order, rule, folded))
        self._literals = list(self._terms)
        self._automaton = ahocorasick_rs.AhoCorasick(self._literals) if self._literals else None
        self._longest = max(map(len, self._literals), default=0)
        self._begun_anywhere, self._begun_at_word = _beginnings(self._terms)
        self._lengths = _lengths_by_end(self._begun_anywhere | self._begun_at_word)
        self._emails = tuple((o, frozenset(map(fold, r.allow))) for o, r in enumerate(self.rules) if r.detect)
        self._email, self._email_begun = re2.compile(_EMAIL), re2.compile(_EMAIL_BEGUN)
        self._warm()

    @property
    def longest(self) -> int:
        """The most folded characters that a find has."""
        return max(self._longest, _LONGEST_EMAIL if self._emails else 0)

    def spans(self, text: str, begin: int, horizon: int, *, is_end: bool, email_from: int = 0) -> Found:
        """Return the finds that start in `[begin, horizon)` of folded `text`, sorted.

        `text[begin - 1]`, when there, is context for word boundaries and is never part of a find. `is_end` says that
        nothing follows `text`. `email_from` is where the last address found so far ended.
        """
        spans = self._term_spans(text, begin, horizon, is_end=is_end)
        addresses, email_to = self._email_spans(text, max(begin, email_from), horizon)
        return Found(sorted(spans + addresses), max(email_from, email_to))

    def undecided_from(self, text: str, begin: int, email_from: int) -> int:
        """Return where the longest suffix of `text` starts that more text could still turn into a find."""
        return min(self._term_hold(text, begin), self._email_hold(text, max(begin, email_from)))

    def action(self, span: Span) -> Action:
        return self.rules[span.order].does

    def _term_spans(self, text: str, begin: int, horizon: int, *, is_end: bool) -> list[Span]:
        if self._automaton is None:
            return []
        found = []
        for pattern, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            if not begin <= start < horizon:
                continue
            for term in self._terms[self._literals[pattern]]:
                if term.boundary_left and _is_word_at(text, start - 1):
                    continue
                if term.boundary_right and ((end == len(text) and not is_end) or _is_word_at(text, end)):
                    continue
                found.append(self._span(start, end, term.order))
        return found

    def _email_spans(self, text: str, begin: int, horizon: int) -> tuple[list[Span], int]:
        """Addresses do not overlap: an allowed one also uses up its characters."""
        spans: list[Span] = []
        end = 0
        if not self._emails or "@" not in text:
            return spans, end
        for match in self._email.finditer(text, begin):
            if match.start() >= horizon:
                break
            end = match.end()
            orders = [order for order, allowed in self._emails if match.group() not in allowed]
            spans += [self._span(match.start(), end, order) for order in orders]
        return spans, end

    def _span(self, start: int, end: int, order: int) -> Span:
        return Span(start, self.rules[order].does is not Action.BLOCK, order, end)

    def _term_hold(self, text: str, begin: int) -> int:
        size = len(text)
        for length in self._lengths.get(text[-1:], ()):
            if length > size - begin:
                continue
            tail = text[size - length :]
            if tail in self._begun_anywhere:
                return size - length
            if tail in self._begun_at_word and not _is_word_at(text, size - length - 1):
                return size - length
        return size

    def _email_hold(self, text: str, begin: int) -> int:
        if not self._emails or begin >= len(text) or text[-1] not in _EMAIL_CHARACTERS:
            return len(text)
        match = self._email_begun.search(text, begin)
        return int(match.start()) if match else len(text)

    def _warm(self) -> None:
        """RE2 builds its automata on first use, which takes far longer than any later use."""
        sample = "a.b-c@mail.example.com " * 8
        self._email.findall(sample)
        self._email_begun.search(sample)


def _term(order: int, rule: Rule, folded: str) -> _Term:
    if rule.match == "substring":
        return _Term(order, boundary_left=False, boundary_right=False)
    return _Term(order, is_word_character(folded[0]), is_word_character(folded[-1]))


def _beginnings(terms: dict[str, list[_Term]]) -> tuple[set[str], set[str]]:
    """Return what a find may start with: anywhere, and only after a word boundary.

    A whole term counts while it still waits for the boundary behind it.
    """
    anywhere: set[str] = set()
    at_word: set[str] = set()
    for folded, uses in terms.items():
        for use in uses:
            longest = len(folded) if use.boundary_right else len(folded) - 1
            target = at_word if use.boundary_left else anywhere
            target.update(folded[:length] for length in range(1, longest + 1))
    return anywhere, at_word


def _lengths_by_end(beginnings: set[str]) -> dict[str, tuple[int, ...]]:
    """Return, for each last character, how long the beginnings are that end with it, the longest first."""
    lengths: dict[str, set[int]] = {}
    for beginning in beginnings:
        lengths.setdefault(beginning[-1], set()).add(len(beginning))
    return {end: tuple(sorted(found, reverse=True)) for end, found in lengths.items()}


def _is_word_at(text: str, index: int) -> bool:
    return 0 <= index < len(text) and is_word_character(text[index])


def rule_ids(matcher: Matcher, spans: Iterable[Span]) -> tuple[str, ...]:
    """Name each rule once, in the policy's order."""
    return tuple(matcher.rules[order].id for order in sorted({span.order for span in spans}))
