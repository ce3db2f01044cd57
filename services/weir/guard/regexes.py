"""Finds the rules' regexes in the plain view, whole or as it grows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from weir.contracts.errors import UsageError
from weir.guard.beginnings import beginnings, end_of, open_place
from weir.guard.candidates import Candidates
from weir.guard.patterns import Pattern, PatternError, compiled, read_regex, run_end, spans
from weir.guard.rules import Rule
from weir.guard.searched import Encoded

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
    ) -> Iterator[Match]:
        """Yield, pattern by pattern, the finds of `hits` from `begin` on, or from where `resume` says for a pattern.

        The last ones may still change when there is more text: those that start at `open_from` or behind it.
        """
        for number in hits:
            yield from self._matches(number, text, max(begin, resume.get(number, 0)), is_end=is_end)

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

    def _matches(self, number: int, text: Encoded, begin: int, *, is_end: bool) -> Iterator[Match]:
        search, last = self._searches[number], -1
        is_plain = search.run is None and search.until is None and not self._allow
        while begin != last:
            last = begin
            for start, certain in spans(search.regex, text.raw, text.byte(begin)):
                if not text.is_ascii:
                    start, certain = text.character(start), text.character(certain)  # noqa: PLW2901 - no more bytes
                if search.validate is not None and not search.validate(text.plain[start:certain]):
                    begin = start + 1
                    break
                if is_plain:
                    yield Match(start, certain, search.order, number, certain, False, False)
                    continue
                match = self._extended(number, text, start, certain, is_end=is_end)
                yield match
                if match.is_open:
                    return
                if match.end > certain:
                    begin = match.end
                    break

    def _extended(self, number: int, text: Encoded, start: int, certain: int, *, is_end: bool) -> Match:
        search = self._searches[number]
        end, is_open = certain, False
        if search.run is not None or search.until is not None:
            end, is_open = self.go_on(number, text, certain, is_end=is_end)
        is_dropped = False
        if self._allow and not search.is_secret:
            allowed = self._allow_begun if is_open else self._allow
            is_dropped = text.plain[start : None if is_open else end].lower() in allowed
        return Match(start, end, search.order, number, certain, is_open, is_dropped)

    def _warm(self) -> None:
        """RE2 builds its automata on first use, which takes far longer than any later use."""
        text = Encoded(WARM_UP * 4)
        list(self.matches(text, self.hits(text), 0, {}, is_end=True))
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
    is_secret: bool


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
            until = pattern.until
            yield _Search(
                order,
                pattern,
                compiled(pattern.search),
                compiled(f"(?:{pattern.run})*") if pattern.run else None,
                compiled(until.search) if until else None,
                end_of((until.begun,)) if until else None,
                validate,
                rule.is_secret,
            )
