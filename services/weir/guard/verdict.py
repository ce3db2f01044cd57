"""What a guard decided. Rule ids only: a verdict never carries text."""

from dataclasses import dataclass

from weir.guard.rules import Action

SCORE = "score"  # the rule id of flags that add up; it blocks
GUARD_ERROR = "guard-error"  # the rule id of a guard that failed; it blocks


@dataclass(frozen=True, slots=True)
class Verdict:
    """`action` is the strongest of what the found rules do; `rules` are those that do it, in the policy's order."""

    action: Action
    rules: tuple[str, ...] = ()


ALLOWED = Verdict(Action.ALLOW)
FAILED = Verdict(Action.BLOCK, (GUARD_ERROR,))
