"""The output guard: releases a stream's text as soon as no rule can still match it, and never earlier."""

from typing import NamedTuple

from weir.guard.fold import fold_with_origins
from weir.guard.matcher import Matcher, Span
from weir.guard.policy import Action, Policy


class Piece(NamedTuple):
    """A decided stretch of `length` original characters and what is sent for it.

    `is_verbatim` is false for a replacement, and (with no text) for the rest of a find that was already replaced.
    """

    text: str
    length: int
    is_verbatim: bool


class OutputGuard:
    """The compiled output rules. Immutable and shared by all requests."""

    def __init__(self, policy: Policy) -> None:
        self.matcher = Matcher(policy.output)
        self.replacements = tuple(rule.replacement for rule in self.matcher.rules)

    def stream(self) -> "StreamGuard":
        return StreamGuard(self)


class StreamGuard:
    """Applies the output rules to one answer that arrives in pieces.

    How the text is cut makes no difference: what was released is at all times a prefix of what the rules make of the
    whole text, and no character of a find is ever released (tests/unit/test_guard_output.py). Overlapping finds are
    one: the replacement is that of the one that starts first. The text before a blocking find is released, nothing
    after. After an error nothing more may be asked of it.
    """

    def __init__(self, guard: OutputGuard) -> None:
        self._guard = guard
        self._matcher = guard.matcher
        self.blocked_by: str | None = None
        self.found: set[str] = set()  # ids of all rules found so far
        # Folded text not yet forgotten; [0, _decided) of it is context, _origins are absolute original positions.
        self._folded = ""
        self._origins: list[int] = []
        self._decided = 0
        self._email_from = 0
        # Original text not yet forgotten, and where it starts. `_sent` and `_seen` are absolute original positions.
        self._text = ""
        self._text_from = 0
        self._sent = 0
        self._seen = 0
        self._found_to = 0

    @property
    def held_chars(self) -> int:
        return self._seen - self._sent

    def feed(self, text: str) -> list[Piece]:
        """Take in `text`; return what is decided now."""
        self._take(text)
        horizon = self._matcher.undecided_from(self._folded, self._decided, self._email_from)
        return self._decide(max(horizon, self._decided), is_end=False)

    def flush(self) -> list[Piece]:
        """Return what was held back. Call once, at the end of the answer."""
        return self._decide(len(self._folded), is_end=True)

    def _take(self, text: str) -> None:
        folded, origins = fold_with_origins(text, self._seen)
        self._folded += folded
        self._origins += origins
        self._text += text
        self._seen += len(text)

    def _decide(self, horizon: int, *, is_end: bool) -> list[Piece]:
        """Decide everything that starts before `horizon` (an index into the folded text)."""
        if self.blocked_by is not None:
            return []
        found = self._matcher.spans(self._folded, self._decided, horizon, is_end=is_end, email_from=self._email_from)
        self._email_from = found.email_to
        pieces: list[Piece] = []
        for span in found.spans:
            self._apply(span, pieces)
            if self.blocked_by is not None:
                return pieces
        whole = horizon == len(self._folded)
        self._release_to(self._seen if whole else self._origins[horizon], pieces)
        self._forget(horizon)
        return pieces

    def _apply(self, span: Span, pieces: list[Piece]) -> None:
        rule = self._matcher.rules[span.order]
        self.found.add(rule.id)
        if rule.does is Action.FLAG:
            return
        start, end = self._origins[span.start], self._origins[span.end - 1] + 1
        is_new = start >= self._found_to
        self._release_to(start, pieces)
        if rule.does is Action.BLOCK:
            self.blocked_by = rule.id
            return
        if end > self._sent:
            pieces.append(Piece(rule.replacement if is_new else "", end - self._sent, is_verbatim=False))
            self._sent = end
        self._found_to = max(self._found_to, end)

    def _release_to(self, position: int, pieces: list[Piece]) -> None:
        if position > self._sent:
            text = self._text[self._sent - self._text_from : position - self._text_from]
            pieces.append(Piece(text, len(text), is_verbatim=True))
            self._sent = position

    def _forget(self, horizon: int) -> None:
        """Keep one decided character, the context that a word boundary looks at."""
        cut = max(horizon - 1, 0)
        self._folded, self._origins = self._folded[cut:], self._origins[cut:]
        self._decided = horizon - cut
        self._email_from = max(self._email_from - cut, 0)
        self._text = self._text[self._sent - self._text_from :]
        self._text_from = self._sent
