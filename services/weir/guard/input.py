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
        terms = self._matcher.term_spans(view.folded, 0, is_end=True)
        seen, disguised = self._matcher.regexes.finds(view), list(self._disguises.spans(view))
        if not terms and not seen and not disguised:
            return Checked(ALLOWED, text)
        _, origins = plain_with_origins(text)
        if not isinstance(origins, range):
            seen = [Find(origins[start], origins[end - 1] + 1, order, view) for start, end, order, view in seen]
        if terms or disguised:
            some = _distinct((*_located(terms, origins, text), *seen, *_located(disguised, origins, text)))
        else:
            some = dict.fromkeys(seen)
        finds = self._matcher.ranked(some)
        if not finds:
            return Checked(ALLOWED, text)
        verdict = self._verdict(finds)
        return Checked(verdict, self._replaced(text, finds) if verdict.action in _REPLACING else text, tuple(finds))

    def _verdict(self, finds: Sequence[Find]) -> Verdict:
        effects = {(find.order, effect(find, self.rules[find.order])) for find in _of_each_kind(finds)}
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
        replacements: dict[tuple[int, str], str | None] = {
            (find.order, find.view): rule.replacement if effect(find, rule) in _REPLACING else None
            for find in _of_each_kind(finds)
            for rule in (self.rules[find.order],)
        }
        for start, end, order, view in finds:
            replacement = replacements[order, view]
            if replacement is None:
                continue
            if start >= done:
                parts += text[done:start], replacement
            done = max(done, end)
        return "".join(parts) + text[done:]


def _of_each_kind(finds: Iterable[Find]) -> Iterable[Find]:
    """Return one find of each rule and view."""
    return {(find.order, find.view): find for find in finds}.values()


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
