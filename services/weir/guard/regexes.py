"""Finds the rules' regexes in the plain view, whole or as it grows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sys import maxsize
from typing import Any, NamedTuple

from weir.contracts.errors import UsageError
from weir.guard.beginnings import beginnings, end_of, open_place
from weir.guard.candidates import Candidates
from weir.guard.finders import Finder, finder_of
from weir.guard.native.library import core
from weir.guard.patterns import Pattern, PatternError, compiled, read_regex, run_end, spans
from weir.guard.rules import Find, Rule
from weir.guard.searched import Encoded
from weir.guard.validators import VALIDATORS

PLAIN = "plain"  # the view
FEW = 8  # matches of one regex in a text; more are found in C
_NO_CHECK = -1
Validators = Mapping[str, Callable[[str], bool]]
WARM_UP = (
    "Mail a.b-c@mail.example.com, 电话13812345678。 https://example.com/a?b=1 sk-Ab0_9 key: 'x' +49 (0)30 1234 {}\n"
    "Thank you for your message! The order was sent on 12 May, so it should arrive within 3-5 working days. If you are "
    "not happy with what you get, please return it to us; we will refund $49.99 (or more). Here is how: 1) open “My "
    "orders”, 2) choose a product, 3) press Return. Which of these applies?\n"
    "您好，您的订单已于5月12日发出，预计3到5个工作日内送达。如果收到的商品有问题，请联系客服，我们会为您退款49.9元。"
    "首先打开“我的订单”，然后选择商品，再点击退货；谢谢您的理解！还有什么可以帮您的吗？（以页面为准）\n"
)


class Match(NamedTuple):
    """A find in characters of the plain view.

    `certain`: where the part ends that made it a find. An open one may go on at `end` when there is more text; a
    dropped one is none (an allow list names it), but uses its characters up all the same.
    """

    start: int
    end: int
    order: int
    pattern: int
    certain: int
    is_open: bool
    is_dropped: bool


class Regexes:
    """The regexes of one direction's rules."""

    def __init__(
        self, rules: Sequence[Rule], allow: frozenset[str], validators: Validators, *, is_streamed: bool
    ) -> None:
        self._searches = tuple(
            search for order, rule in enumerate(rules) for search in _searches(order, rule, validators, is_streamed)
        )
        self._allow = allow
        self._allow_begun = frozenset(entry[:length] for entry in allow for length in range(1, len(entry) + 1))
        self._candidates = Candidates([search.pattern for search in self._searches])
        self._beginnings = beginnings(search.pattern for search in self._searches) if is_streamed else None
        self._warm()

    @property
    def patterns(self) -> Sequence[Pattern]:
        return [search.pattern for search in self._searches]

    def hits(self, text: Encoded) -> Sequence[int]:
        """Return the patterns that may be found in `text`."""
        return self._candidates.among(text)

    def matches(
        self, text: Encoded, hits: Sequence[int], begin: int, resume: Mapping[int, int], *, is_end: bool
    ) -> list[Match]:
        """Return, pattern by pattern, the finds of `hits` from `begin` on, or from where `resume` says for a pattern.

        The last ones may still change when there is more text: those that start at `open_from` or behind it.
        """
        found: list[Match] = []
        for number in hits:
            place = self._one_by_one(number, text, max(begin, resume.get(number, 0)), found, FEW, is_end=is_end)
            if place is not None:
                some, place = self._many(number, text, place, is_end=is_end)
                found += some
                self._one_by_one(number, text, place, found, maxsize, is_end=is_end)
        return found

    def finds(self, text: Encoded) -> list[Find]:
        """Return all finds of a whole text, pattern by pattern."""
        found: list[Find] = []
        for number in self.hits(text):
            some: list[Match] = []
            place = self._one_by_one(number, text, 0, some, FEW, is_end=True)
            if place is not None and (not self._allow or self._searches[number].is_secret):
                found += _finds_of(some)
                some = []
                more, place = self._all(number, text, place)
                found += more
            if place is not None:
                self._one_by_one(number, text, place, some, maxsize, is_end=True)
            found += _finds_of(some)
        return found

    def open_from(self, text: Encoded, begin: int, *, closely: bool = False) -> int:
        """Return where the longest end of `text` starts, not before `begin`, that more text may make a find.

        `closely`: and not a short one that only looks like it.
        """
        if self._beginnings is None:
            return len(text.plain)
        return self._beginnings.open_from(text, begin, closely=closely)

    def go_on(self, number: int, text: Encoded, position: int, *, is_end: bool) -> tuple[int, bool]:
        """Return up to where an open find of a pattern goes on from `position`, and whether it is open still."""
        search, size = self._searches[number], len(text.plain)
        if search.run is not None:
            end = text.character(run_end(search.run, text.raw, text.byte(position)))
            return end, end == size and not is_end
        open_from = size if is_end else open_place(search.until_begun, text, position)
        end = search.until.search(text.raw, text.byte(position))
        if end is not None and text.character(end.start()) < open_from:
            return text.character(end.end()), False
        return open_from, not is_end

    def _one_by_one(
        self, number: int, text: Encoded, begin: int, into: list[Match], most: int, *, is_end: bool
    ) -> int | None:
        """Append what RE2 finds. Return where more may be found, once it found `most`; None: nowhere."""
        if not most:
            return begin
        search, last, num_found = self._searches[number], -1, 0
        is_plain = search.run is None and search.until is None and not self._allow
        while begin != last:
            last = begin
            for start, certain in spans(search.regex, text.raw, text.byte(begin)):
                if not text.is_ascii:
                    start, certain = text.character(start), text.character(certain)  # noqa: PLW2901 - no more bytes
                num_found += 1
                if search.validate is not None and not search.validate(text.plain[start:certain]):
                    begin = start + 1
                    break
                if is_plain:
                    match = Match(start, certain, search.order, number, certain, False, False)
                else:
                    match = self._extended(number, text, start, certain, is_end=is_end)
                into.append(match)
                if match.is_open:
                    return None
                if match.end > certain or num_found >= most:
                    begin = match.end
                    break
            else:
                return None
            if num_found >= most:
                return begin
        return None

    def _many(self, number: int, text: Encoded, begin: int, *, is_end: bool) -> tuple[list[Match], int]:
        """Return what is found in C, and where more may be found."""
        search = self._searches[number]
        finder = search.finder()
        if finder is None:
            return [], begin
        found, place = finder.matches(
            Match, (search.order, number), text, begin, (search.check, search.validate), is_end=is_end
        )
        if not self._allow or search.is_secret:
            return found, place
        allowed = [self._is_dropped(text, match) for match in found]
        return [match._replace(is_dropped=is_one) for match, is_one in zip(found, allowed, strict=True)], place

    def _all(self, number: int, text: Encoded, begin: int) -> tuple[list[Find], int]:
        """As `_many`, where nothing follows and no allow list counts."""
        search = self._searches[number]
        finder = search.finder()
        if finder is None:
            return [], begin
        return finder.finds(Find, (search.order, PLAIN), text, begin, (search.check, search.validate))

    def _extended(self, number: int, text: Encoded, start: int, certain: int, *, is_end: bool) -> Match:
        search = self._searches[number]
        end, is_open = certain, False
        if search.run is not None or search.until is not None:
            end, is_open = self.go_on(number, text, certain, is_end=is_end)
        match = Match(start, end, search.order, number, certain, is_open, False)
        if self._allow and not search.is_secret and self._is_dropped(text, match):
            return match._replace(is_dropped=True)
        return match

    def _is_dropped(self, text: Encoded, match: Match) -> bool:
        allowed = self._allow_begun if match.is_open else self._allow
        return text.plain[match.start : None if match.is_open else match.end].lower() in allowed

    def _warm(self) -> None:
        """RE2 builds its automata on first use, which takes far longer than any later use."""
        text = Encoded(WARM_UP * 4)
        self.matches(text, self.hits(text), 0, {}, is_end=True)
        for size in range(len(WARM_UP) if self._beginnings is not None else 0):
            self.open_from(Encoded(WARM_UP[:size]), 0)


class _Search(NamedTuple):
    order: int
    pattern: Pattern
    regex: Any
    run: Any
    until: Any
    until_begun: Any
    validate: Callable[[str], bool] | None
    check: int  # the same in C; -1: it is not there
    is_secret: bool

    def finder(self) -> Finder | None:
        native = core()
        return None if native is None else finder_of(native, self.pattern)


def _finds_of(matches: Iterable[Match]) -> Iterator[Find]:
    return (Find(one.start, one.end, one.order, PLAIN) for one in matches if not one.is_dropped)


def _searches(order: int, rule: Rule, validators: Validators, is_streamed: bool) -> Iterator[_Search]:
    if rule.validator is not None and rule.validator not in validators:
        raise UsageError(f"rule {rule.id!r}: no validator is called {rule.validator!r}")
    for regex in rule.regexes:
        try:
            patterns = read_regex(
                regex, keeps_case=rule.keeps_case, until=rule.until, cap=rule.cap, is_streamed=is_streamed
            )
        except PatternError as error:
            raise UsageError(f"rule {rule.id!r}: {regex!r}: {error}") from error
        for pattern in patterns:
            validate = validators[rule.validator] if rule.validator and not pattern.is_overflow else None
            check = _check_of(rule.validator, validate)
            until = pattern.until
            yield _Search(
                order,
                pattern,
                compiled(pattern.search),
                compiled(f"(?:{pattern.run})*") if pattern.run else None,
                compiled(until.search) if until else None,
                end_of((until.begun,)) if until else None,
                validate,
                check,
                rule.is_secret,
            )


def _check_of(name: str | None, validate: Callable[[str], bool] | None) -> int:
    """Return which check in C does what `validate` does."""
    native = core()
    if native is None or name is None or validate is None or VALIDATORS.get(name) is not validate:
        return _NO_CHECK
    return native.checks.get(name, _NO_CHECK)
