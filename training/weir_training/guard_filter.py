"""Keeps what the gateway would refuse out of the training data, by the same policy. Places are told, never texts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weir.contracts.errors import CheckFailedError
from weir.guard.compiled import Chosen, CompiledGuard
from weir.guard.input import effect
from weir.guard.policy import PolicySet, default_policy, load_policy
from weir.guard.rules import STRENGTH, Action, Rule
from weir.guard.verdict import SCORE
from weir_training.data import Data, Row
from weir_training.recipe import DEFAULT_GUARD, DataPart

_REFUSES: Final = frozenset({Action.BLOCK, Action.FALLBACK})
_CHANGES: Final = frozenset({Action.REDACT, Action.REWRITE})
_PLACES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What a policy says of the rows: by rule, the places that it refuses, and those whose text it would change."""

    policy: str
    refused: Mapping[str, tuple[str, ...]]
    changed: Mapping[str, tuple[str, ...]]

    def in_words(self) -> list[str]:
        """Return a line a rule."""
        kinds = (("refuses", self.refused), ("would replace something in", self.changed))
        return [f"rule {rule!r} {what} {_named(rows)}" for what, rules in kinds for rule, rows in rules.items()]


def policy_of(part: DataPart) -> PolicySet | None:
    """Return the recipe's guard policy, if it names one.

    Raises:
        PolicyError: it is refused.
    """
    if part.guard is None:
        return None
    return default_policy() if part.guard == DEFAULT_GUARD else load_policy(Path(part.guard))


def without_refused(data: Data, part: DataPart) -> tuple[Data, GuardReport | None]:
    """Return the data without the training rows that the gateway would refuse, and which rules refused them.

    Raises:
        PolicyError: the policy is refused.
        CheckFailedError: there are such rows, and they are not to be dropped; or none is left.
    """
    policy = policy_of(part)
    if policy is None:
        return data, None
    judge = _Judge(CompiledGuard.build(policy).chosen("", None, None))
    kept = tuple(row for row in data.train if judge.keeps(row))
    report = judge.report(f"{policy.id}@{policy.sha256[:12]}")
    if report.refused and part.guarded == "error":
        words = "\n".join(line for line in report.in_words() if "refuses" in line)
        raise CheckFailedError(f"{words}\nremove these rows, change the policy, or set data.guarded: drop")
    if not kept:
        raise CheckFailedError("the guard policy refuses every row")
    return Data(kept, data.heldout, data.warnings), report


class _Judge:
    """Judges rows as the gateway judges requests and answers."""

    def __init__(self, guard: Chosen) -> None:
        self._guard = guard
        self._refused: dict[str, list[str]] = defaultdict(list)
        self._changed: dict[str, list[str]] = defaultdict(list)

    def keeps(self, row: Row) -> bool:
        """Whether the gateway would let both the prompt and the answer pass; which rules say what is noted."""
        found = self._in_prompt(row) | self._in_answer(row.answer)
        for rule, action in found.items():
            if action in _REFUSES:
                self._refused[rule].append(row.place)
            elif action in _CHANGES:
                self._changed[rule].append(row.place)
        return _REFUSES.isdisjoint(found.values())

    def report(self, policy: str) -> GuardReport:
        def tupled(places: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
            return {rule: tuple(where) for rule, where in sorted(places.items())}

        return GuardReport(policy, tupled(self._refused), tupled(self._changed))

    def _in_prompt(self, row: Row) -> dict[str, Action]:
        found: dict[str, Action] = {}
        scores: dict[str, int] = {}
        for turn in row.question:
            checked = self._guard.input.check(turn.content)
            for find in checked.finds:
                rule = self._guard.rules.input[find.order]
                done = effect(find, rule)
                found[rule.id] = max(done, found.get(rule.id, Action.ALLOW), key=STRENGTH.__getitem__)
                if done is Action.FLAG:
                    scores[rule.id] = rule.score
        if 0 < self._guard.rules.score_block <= sum(scores.values()):
            found[SCORE] = Action.BLOCK
        return found

    def _in_answer(self, answer: str) -> dict[str, Action]:
        rules: Sequence[Rule] = self._guard.rules.output
        guarded = self._guard.output.whole(answer)
        found = {rules[find.order].id: rules[find.order].action for find in guarded.finds}
        broken = [check.rule for check in self._guard.answers if not check.is_kept(guarded.text)]
        return found | {rule.id: rule.action for rule in broken}


def _named(places: Sequence[str]) -> str:
    more = len(places) - _PLACES_SHOWN
    return ", ".join(places[:_PLACES_SHOWN]) + (f" and {more} more rows" if more > 0 else "")
