"""What finds do to a text: which of its stretches are replaced, and where it ends."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import NamedTuple

from weir.guard.rules import Action, CertainFind, Find, Rule

_made = tuple.__new__  # of a named tuple, without the function that names the fields: there may be very many
OnFind = Callable[[Find, str], None]


class Piece(NamedTuple):
    """A decided stretch of `length` original characters and what is sent for it.

    `is_verbatim` is false for a replacement, and (with no text) for the rest of a find that was already replaced.
    """

    text: str
    length: int
    is_verbatim: bool


class _Effect(NamedTuple):
    """What a rule does here: asking the rule itself is slow where there are very many finds."""

    is_flag: bool
    is_end: bool
    replacement: str


class Decision:
    """One text under one direction's rules; takes in the text and its finds from left to right.

    Overlapping finds are one stretch, replaced by what the first of them says. The text before a blocking find is
    released, nothing after; a fallback's text is then the last that is. Positions are those of the original text.
    """

    def __init__(self, rules: Sequence[Rule], on_find: OnFind | None = None, *, may_end: bool = True) -> None:
        self.blocked_by: str | None = None
        self.fallback_by: str | None = None
        self.is_over = False
        self.found: set[str] = set()
        self.seen = 0
        self.sent = 0
        self.covered = 0  # the end of the last stretch
        self._rules = rules
        self._on_find = on_find
        self._may_end = may_end
        self._text = ""  # not yet forgotten, and where it starts
        self._text_from = 0
        self._pieces: list[Piece] = []
        self._known: dict[int, _Effect] = {}  # of the rules found

    def fork(self, on_find: OnFind | None) -> "Decision":
        """Return a decision that goes on from here by itself."""
        fork = copy(self)
        fork.found, fork._known = self.found.copy(), self._known.copy()  # noqa: SLF001 - its own
        fork._pieces, fork._on_find = self._pieces.copy(), on_find  # noqa: SLF001 - its own
        return fork

    def take(self, text: str) -> None:
        self._text += text
        self.seen += len(text)

    def go_on(self, text: str, seen: int, sent: int) -> None:
        """Go on behind text that was decided elsewhere. `text`: what is not forgotten of it."""
        self._text, self._text_from = text, seen - len(text)
        self.seen, self.sent = seen, sent

    def apply(self, finds: Iterable[CertainFind]) -> None:
        """Note finds, in the order in which they count, up to one that ends the text."""
        on_find, text, begin, known = self._on_find, self._text, self._text_from, self._known
        pieces, sent, covered = self._pieces, self.sent, self.covered
        for start, end, order, view, certain in finds:
            effect = known.get(order)
            if effect is None:
                effect = known[order] = self._effect(self._rules[order])
            if on_find is not None:
                on_find(_made(Find, (start, certain, order, view)), text[start - begin : certain - begin])
            if effect.is_flag:
                continue
            if start > sent:
                pieces.append(_made(Piece, (text[sent - begin : start - begin], start - sent, True)))
                sent = start
            if effect.is_end:
                self._end(self._rules[order])
                break
            if end > sent:
                pieces.append(_made(Piece, (effect.replacement if start >= covered else "", end - sent, False)))
                sent = end
            covered = max(covered, end)
        self.sent, self.covered = sent, covered

    def _effect(self, rule: Rule) -> "_Effect":
        self.found.add(rule.id)
        is_end = self._may_end and rule.action in (Action.BLOCK, Action.FALLBACK)
        return _Effect(rule.action is Action.FLAG, is_end, rule.replacement)

    def _end(self, rule: Rule) -> None:
        self.is_over = True
        if rule.action is Action.BLOCK:
            self.blocked_by = rule.id
        else:
            self.fallback_by = rule.id
            self._pieces.append(Piece(rule.replacement, 0, is_verbatim=False))

    def cover_to(self, end: int, replacement: str = "") -> None:
        """Go on with a stretch, or begin one."""
        if end > self.sent:
            self._pieces.append(Piece(replacement, end - self.sent, is_verbatim=False))
            self.sent = end
        self.covered = max(self.covered, end)

    def release_to(self, position: int) -> None:
        sent = self.sent
        if position > sent:
            begin = self._text_from
            text = self._text[sent - begin : position - begin]
            self._pieces.append(Piece(text, position - sent, True))
            self.sent = position

    def original(self, start: int, end: int) -> str:
        return self._text[start - self._text_from : end - self._text_from]

    def pieces(self) -> list[Piece]:
        """Return what was decided since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def forget(self, position: int) -> None:
        """Forget the text before `position`, but for what is not sent yet."""
        keep_from = position if position < self.sent else self.sent
        self._text = self._text[keep_from - self._text_from :]
        self._text_from = keep_from
