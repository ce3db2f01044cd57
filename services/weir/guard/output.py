"""The output guard: releases a stream's text as soon as no rule can still match it, and never earlier."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from copy import copy
from operator import itemgetter
from typing import NamedTuple

from weir.guard.decision import Decision, OnFind, Piece
from weir.guard.fold import is_foreign_word, plain_with_origins
from weir.guard.matcher import NO_VALIDATORS, Matcher
from weir.guard.native.library import Watch
from weir.guard.regexes import PLAIN, Match, Validators
from weir.guard.rules import MAX_HOLD, Action, CertainFind, Find, RuleSet
from weir.guard.searched import Encoded, Searched
from weir.guard.terms import Span

OVERFLOW = "[redacted]"  # what is sent for a hold that grew too long
_START, _IS_OPEN = itemgetter(0), itemgetter(5)  # of a match: there may be very many
_IS_DROPPED = 6
__all__ = ["Guarded", "OutputGuard", "Piece", "StreamGuard"]


class Guarded(NamedTuple):
    """What is left of a whole answer."""

    text: str
    blocked_by: str | None
    fallback_by: str | None
    finds: tuple[Find, ...]


class OutputGuard:
    """The compiled output rules. Immutable and shared by all requests."""

    def __init__(self, rules: RuleSet, validators: Validators = NO_VALIDATORS) -> None:
        self.matcher = Matcher(rules.output, rules.allow, validators)

    def stream(self, on_find: OnFind | None = None) -> "StreamGuard":
        """Return one answer's guard. `on_find` hears of each find and its text; of an open one, of the certain part."""
        return StreamGuard(self.matcher, on_find)

    def whole(self, text: str) -> Guarded:
        finds: list[Find] = []
        stream = self.stream(lambda find, _: finds.append(find))
        pieces = stream.whole(text)
        return Guarded("".join(p.text for p in pieces), stream.blocked_by, stream.fallback_by, tuple(finds))


class StreamGuard:
    """Applies the output rules to one answer that arrives in pieces.

    How the text is cut makes no difference: what was released is at all times a prefix of what the rules make of the
    whole text, and no character of a find is ever released (tests/unit/test_guard_stream.py). After an error nothing
    more may be asked of it.
    """

    def __init__(self, matcher: Matcher, on_find: OnFind | None = None, *, may_end: bool = True) -> None:
        """Begin. `may_end=False`: what blocks is replaced instead, so that the rest of the text is looked at too."""
        self._matcher = matcher
        self._decision = Decision(matcher.rules, on_find, may_end=may_end)
        # The plain view not yet forgotten: [0, _decided) of it is context. _origins are positions in the original.
        self._plain = ""
        self._origins: list[int] = []
        self._decided = 0
        self._base = 0  # where it starts in the whole plain view
        self._resume: dict[int, int] = {}  # per pattern, where its last find ended in the whole plain view
        self._open: dict[int, tuple[int, int]] = {}  # per pattern, its rule and where its open find goes on
        self._is_uneven = False  # some characters held have no trace in the plain view, or more than one
        watcher = matcher.watcher
        # While the text is simple this alone knows of it; `_is_watched` says so.
        self._watch = None if watcher is None else watcher.begin()
        self._is_watched = watcher is not None
        self.num_overflows = 0

    @property
    def blocked_by(self) -> str | None:
        """The rule that ended the answer."""
        return self._decision.blocked_by

    @property
    def fallback_by(self) -> str | None:
        """The rule whose text ended the answer."""
        return self._decision.fallback_by

    @property
    def is_over(self) -> bool:
        return self._decision.is_over

    @property
    def found(self) -> set[str]:
        """The ids of all rules found so far."""
        return self._decision.found

    @property
    def num_seen(self) -> int:
        """Characters taken in."""
        return self._watch.seen if self._watch is not None and self._is_watched else self._decision.seen

    @property
    def held_chars(self) -> int:
        """Characters taken in and neither released nor replaced yet."""
        if self._watch is not None and self._is_watched:
            return self._watch.held
        decision = self._decision
        return 0 if decision.is_over else decision.seen - decision.sent

    def feed(self, text: str) -> list[Piece]:
        """Take in `text`; return what is decided now."""
        if self._watch is None:
            return self._fed(text)
        if self._is_watched:
            released = self._watch.feed(text)
            if released is not None:
                return [Piece(released, len(released), True)] if released else []
            self._leave_watch(self._watch)
        pieces = self._fed(text)
        self._is_watched = self._goes_on_watched(self._watch)
        return pieces

    def flush(self) -> list[Piece]:
        """Return what was held back. Call once, at the end of the answer."""
        if self._watch is not None and self._is_watched:
            released = self._watch.flush()
            if released is not None:
                return [Piece(released, len(released), True)] if released else []
            self._leave_watch(self._watch)
        return self._decide(is_end=True)

    def whole(self, text: str) -> list[Piece]:
        """Return what is decided of an answer that is all there, in place of `feed` and `flush`."""
        if len(text) <= MAX_HOLD or self._may_overflow(text):
            pieces = self.feed(text)
            return pieces if self.is_over else [*pieces, *self.flush()]
        self._is_watched = False
        self._take(text)
        return self._decide(is_end=True)

    def fork(self, on_find: OnFind | None = None) -> "StreamGuard":
        """Return a guard that goes on from here by itself."""
        fork = copy(self)
        fork._decision, fork._origins = self._decision.fork(on_find), self._origins.copy()  # noqa: SLF001 - its own
        fork._resume, fork._open = self._resume.copy(), self._open.copy()  # noqa: SLF001 - its own
        if self._watch is not None:
            fork._watch = self._watch.copy()  # noqa: SLF001 - its own
        return fork

    def _leave_watch(self, watch: Watch) -> None:
        """Go on here with the text that is not forgotten there."""
        text, self._plain, self._decided, seen = watch.state()
        self._base = seen - len(text)
        self._origins = list(range(self._base, seen))
        self._decision.go_on(text, seen, self._base + self._decided)
        self._is_watched = False

    def _goes_on_watched(self, watch: Watch) -> bool:
        """Whether what is left of the text is simple: one character for each, all decided released, no find goes on."""
        decision, size, decided = self._decision, len(self._origins), self._decided
        first = decision.seen - size
        if self._open or self._is_uneven or decision.is_over or decision.sent != first + decided:
            return False
        if size and (self._origins[0] != first or self._origins[-1] != decision.seen - 1):
            return False
        if any(position > self._base + decided for position in self._resume.values()):
            return False
        self._resume.clear()
        return watch.load(decision.original(first, decision.seen), decided, decision.seen)

    def _fed(self, text: str) -> list[Piece]:
        if self.held_chars + len(text) <= MAX_HOLD or not self._may_overflow(text):
            self._take(text)
            return self._decide(is_end=False)
        pieces, at = [], 0
        while at < len(text) and not self.is_over:  # in steps, so that the hold overflows at the same place however cut
            step = max(1, MAX_HOLD - self.held_chars)
            self._take(text[at : at + step])
            pieces += self._decide(is_end=False)
            at += step
        return pieces

    def _may_overflow(self, text: str) -> bool:
        """Whether characters without any trace in the plain view may make a hold too long; no find is too long else."""
        return self._is_uneven or not isinstance(plain_with_origins(text)[1], range)

    def _take(self, text: str) -> None:
        plain, origins = plain_with_origins(text, self._decision.seen)
        if not isinstance(origins, range):
            self._is_uneven = True
        self._plain += plain
        self._origins += origins
        self._decision.take(text)

    def _decide(self, *, is_end: bool) -> list[Piece]:
        """Decide everything that starts before what may still become a find."""
        decision = self._decision
        if decision.is_over:
            return []
        text = Encoded(self._plain)
        folded = text.folded
        size = len(self._plain)
        horizon = size if is_end else self._matcher.open_from(text, folded, self._decided)
        if horizon < size and decision.seen - self._origins[horizon] > MAX_HOLD:
            horizon = self._matcher.open_from(text, folded, self._decided, closely=True)
        if self._open:
            horizon = min(horizon, self._go_on(text, is_end=is_end))
        if horizon > self._decided:
            horizon = self._apply(text, folded, horizon, is_end=is_end)
        if not decision.is_over:
            self._release(horizon)
            if self.held_chars > MAX_HOLD and not is_end:
                horizon = self._overflow()
            if not is_end:
                self._forget(horizon)
        return decision.pieces()

    def _overflow(self) -> int:
        """Replace what is held: so many invisible characters stand in it that it may not wait for more."""
        self.num_overflows += 1
        decision, end = self._decision, len(self._plain)
        decision.cover_to(decision.seen, OVERFLOW if decision.sent > decision.covered else "")
        self._open = {pattern: (order, self._base + end) for pattern, (order, _) in self._open.items()}
        return end

    def _apply(self, text: Encoded, folded: Searched, horizon: int, *, is_end: bool) -> int:
        """Apply the finds that start before `horizon`; return the horizon that they leave."""
        matches = self._matches(text, is_end=is_end)
        for match in filter(_IS_OPEN, matches):
            if match.start < horizon:
                horizon = min(horizon, match.start if match.is_dropped else match.end)
        if self._is_uneven:
            horizon = self._at_character(horizon)
        spans = self._matcher.term_spans(folded, self._decided, is_end=is_end)
        if not spans and not matches:
            return horizon
        finds = [*self._terms(span for span in spans if span.start < horizon)]
        if matches:
            finds += self._noted(matches[: bisect_left(matches, horizon, key=_START)])
        self._decision.apply(self._matcher.ranked(finds))
        return horizon

    def _go_on(self, text: Encoded, *, is_end: bool) -> int:
        """Follow the open finds; return from where on it is not certain that they cover the text."""
        horizon = len(text.plain)
        for pattern, (order, position) in list(self._open.items()):
            end, is_open = self._matcher.regexes.go_on(pattern, text, position - self._base, is_end=is_end)
            if self._covers(order) and end > position - self._base:
                self._decision.cover_to(self._origins[end - 1] + 1)
            if is_open:
                self._open[pattern] = (order, self._base + end)
                horizon = min(horizon, end)
            else:
                del self._open[pattern]
                self._resume[pattern] = self._base + end
        return horizon

    def _matches(self, text: Encoded, *, is_end: bool) -> list[Match]:
        regexes = self._matcher.regexes
        hits = regexes.hits(text)
        if not hits:
            return []
        resume = {pattern: position - self._base for pattern, position in self._resume.items()}
        resume.update(dict.fromkeys(self._open, len(text.plain)))
        return sorted(regexes.matches(text, hits, self._decided, resume, is_end=is_end))

    def _terms(self, spans: Iterable[Span]) -> Iterable[CertainFind]:
        for span in spans:
            start, end = self._origins[span.start], self._origins[span.end - 1] + 1
            if not (span.is_latin and is_foreign_word(self._decision.original(start, end))):
                yield start, end, span.order, span.view, end

    def _noted(self, matches: Sequence[Match]) -> Iterable[CertainFind]:
        """Return the finds of decided matches; remember where they end."""
        base, origins, resume = self._base, self._origins, self._resume
        for _, end, order, pattern, _, is_open, _ in matches:
            if is_open:
                self._open[pattern] = (order, base + end)
            else:
                resume[pattern] = base + end
        kept = [match for match in matches if not match[_IS_DROPPED]] if self._matcher.allow else matches
        if not self._is_uneven and kept:  # from there on each character is one
            first = origins[self._decided] - self._decided
            return [
                (first + start, first + end, order, PLAIN, first + sure) for start, end, order, _, sure, _, _ in kept
            ]
        return [
            (origins[start], origins[end - 1] + 1, order, PLAIN, origins[certain - 1] + 1)
            for start, end, order, _, certain, _, _ in kept
        ]

    def _at_character(self, horizon: int) -> int:
        """Step back to where an original character begins: what stands for it is decided together."""
        while self._decided < horizon < len(self._origins) and self._origins[horizon - 1] == self._origins[horizon]:
            horizon -= 1
        return horizon

    def _release(self, horizon: int) -> None:
        decision = self._decision
        if not self._open or not any(self._covers(order) for order, _ in self._open.values()):
            decision.release_to(decision.seen if horizon == len(self._plain) else self._origins[horizon])

    def _covers(self, order: int) -> bool:
        return self._matcher.rules[order].action is not Action.FLAG

    def _forget(self, horizon: int) -> None:
        """Keep one decided character, the context that a word boundary looks at."""
        cut, size = (horizon - 1 if horizon else 0), len(self._origins)
        self._decision.forget(self._origins[cut] if cut < size else self._decision.seen)
        if cut:
            self._plain = self._plain[cut:]
            del self._origins[:cut]
            self._base += cut
        self._decided = horizon - cut
        if self._is_uneven:
            self._is_uneven = horizon < size
