"""The input filter: what a prompt may say."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from weir.guard.disguises import SOFT_VIEWS, Disguises
from weir.guard.fold import is_foreign_word, plain, plain_with_origins
from weir.guard.matcher import Matcher
from weir.guard.regexes import Validators
from weir.guard.rules import STRENGTH, Action, Find, Rule, RuleSet
from weir.guard.searched import Encoded
from weir.guard.terms import Span
from weir.guard.validators import VALIDATORS
from weir.guard.verdict import ALLOWED, SCORE, Verdict

_REPLACING = frozenset({Action.REDACT, Action.REWRITE})


class Checked(NamedTuple):
    """What the input rules make of a text.

    `text` is what goes on, where the verdict lets it: the same one, or with redactions made. `finds` are all of them,
    also those that only flag, in the order in which they count.
    """

    verdict: Verdict
    text: str
    finds: tuple[Find, ...] = ()


def effect(find: Find, rule: Rule) -> Action:
    """Return what is done about a find: what its rule says, but no more than a flag for what is seen in a soft view."""
    return min(rule.action, Action.FLAG, key=STRENGTH.__getitem__) if find.view in SOFT_VIEWS else rule.action


class InputFilter:
    """Checks one text at a time; stateless."""

    def __init__(self, rules: RuleSet, validators: Validators = VALIDATORS) -> None:
        self.rules = rules.input
        self._matcher = Matcher(rules.input, rules.allow, validators, is_streamed=False)
        self._disguises = Disguises(self._matcher)
        self._score_block = rules.score_block

    def check(self, text: str) -> Checked:
        """Look for the rules in `text`, as it stands and in what it may be a disguise of."""
        view = Encoded(plain(text))
        spans = [*self._matcher.spans(view), *self._disguises.spans(view)]
        if not spans:
            return Checked(ALLOWED, text)
        _, origins = plain_with_origins(text)
        finds = sorted(_distinct(_located(spans, origins, text)), key=self._matcher.rank)
        if not finds:
            return Checked(ALLOWED, text)
        verdict = self._verdict(finds)
        return Checked(verdict, self._replaced(text, finds) if verdict.action in _REPLACING else text, tuple(finds))

    def _verdict(self, finds: Sequence[Find]) -> Verdict:
        effects = {(find.order, effect(find, self.rules[find.order])) for find in finds}
        action = max((action for _, action in effects), key=STRENGTH.__getitem__)
        score = sum(self.rules[order].score for order, action in effects if action is Action.FLAG)
        if action is not Action.BLOCK and 0 < self._score_block <= score:
            return Verdict(Action.BLOCK, (SCORE,))
        deciding = sorted(order for order, does in effects if does is action)
        return Verdict(action, tuple(self.rules[order].id for order in deciding))

    def _replaced(self, text: str, finds: Iterable[Find]) -> str:
        """Overlapping finds are one stretch; what the first of them says stands for it."""
        parts: list[str] = []
        done = 0
        for find in finds:
            rule = self.rules[find.order]
            if effect(find, rule) not in _REPLACING:
                continue
            if find.start >= done:
                parts += text[done : find.start], rule.replacement
            done = max(done, find.end)
        return "".join(parts) + text[done:]


def _located(spans: Iterable[Span], origins: Sequence[int], text: str) -> Iterator[Find]:
    for span in spans:
        start, end = origins[span.start], origins[span.end - 1] + 1
        if not (span.is_latin and is_foreign_word(text[start:end])):
            yield Find(start, end, span.order, span.view)


def _distinct(finds: Iterable[Find]) -> Iterable[Find]:
    """Keep one of the finds of a rule in one place: that which counts for most."""
    kept: dict[tuple[int, int, int], Find] = {}
    for find in finds:
        place = (find.start, find.end, find.order)
        if place not in kept or kept[place].view in SOFT_VIEWS:
            kept[place] = find
    return kept.values()
