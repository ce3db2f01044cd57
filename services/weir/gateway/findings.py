"""What guard rules found in one prompt or one answer, for metrics and the audit: never the text itself."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson

from weir.guard.rules import STRENGTH, Action, Find, Rule
from weir.telemetry.metrics import GatewayMetrics

_MAX_NOTES: Final = 100  # per request, in the audit

Seal = Callable[[str], str]
Phase = Literal["input", "output"]


class Note(NamedTuple):
    """One find as the audit keeps it: `[start, end)` in characters of the text that `where` names."""

    rule: str
    action: str
    phase: str
    where: str
    start: int
    end: int
    view: str
    hmac: str


class Findings:
    """Collects the finds of one phase. `seal` makes the HMAC of a text; without it nothing is kept for the audit."""

    __slots__ = ("_notes", "_phase", "_rules", "_seal", "found")

    def __init__(self, phase: Phase, rules: Sequence[Rule], seal: Seal | None, notes: list[Note]) -> None:
        self._phase: Phase = phase
        self._rules = rules
        self._seal = seal
        self._notes = notes
        self.found: dict[str, Action] = {}  # by rule, in the order they were found in

    def add(self, find: Find, matched: str, where: str, action: Action | None = None) -> None:
        """Note one find. `action`: what was done, where it is not what the rule says."""
        rule = self._rules[find.order]
        done = action or rule.action
        self.judged(rule.id, done)
        if self._seal is not None and len(self._notes) < _MAX_NOTES:
            digest = self._seal(matched)
            self._notes.append(Note(rule.id, done, self._phase, where, find.start, find.end, find.view, digest))

    def judged(self, rule: str, action: Action) -> None:
        """Note what a rule does that finds no stretch of text, or that was noted already."""
        if STRENGTH[action] > STRENGTH[self.found.get(rule, Action.ALLOW)]:
            self.found[rule] = action

    def count(self, metrics: GatewayMetrics) -> None:
        """Count each rule once."""
        for rule, action in list(self.found.items()) or [("none", Action.ALLOW)]:
            metrics.guard_verdicts(self._phase, rule, action).inc()


def audited(notes: Sequence[Note]) -> str:
    """Return notes as the JSON text of an audit row."""
    rows: list[dict[str, Any]] = [note._asdict() for note in notes]
    return orjson.dumps(rows).decode() if rows else ""
