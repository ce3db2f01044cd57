"""Whether a policy's rules can be held: every regex in a form that streams can follow, every example as it says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from weir.guard.matcher import Matcher
from weir.guard.patterns import Pattern, PatternError, read_regex
from weir.guard.policy import PolicyError, PolicySet
from weir.guard.policy.errors import nearest
from weir.guard.rules import Action, Rule
from weir.guard.validators import VALIDATORS


@dataclass(frozen=True, slots=True)
class Distinct:
    """A rule as its finds see it: profiles that only change what is done with them share one."""

    rule: Rule
    directions: frozenset[str]
    where: str  # file and rule, as error messages begin

    def fault(self, reason: str) -> PolicyError:
        return PolicyError([f"{self.where}: {reason}"])

    def patterns(self) -> Iterator[tuple[Pattern, ...]]:
        """Yield how each regex of the rule is searched.

        Raises:
            PolicyError: RE2 cannot take one, or no stream could follow it.
        """
        for number, regex in enumerate(self.rule.regexes, 1):
            try:
                yield read_regex(
                    regex,
                    keeps_case=self.rule.keeps_case,
                    until=self.rule.until,
                    cap=self.rule.cap,
                    is_streamed="output" in self.directions,
                )
            except PatternError as error:
                which = f"regex number {number}: " if len(self.rule.regexes) > 1 else ""
                raise self.fault(f"{which}{error}") from None


def distinct_rules(policy: PolicySet) -> list[Distinct]:
    """Return all rules of all profiles, each once."""
    uses: dict[Rule, set[tuple[str, str]]] = {}
    for rules in policy.rule_sets.values():
        for direction, held in (("input", rules.input), ("output", rules.output)):
            for rule in held:
                uses.setdefault(_as_found(rule), set()).add((direction, rule.id))
    return [
        Distinct(rule, frozenset(direction for direction, _ in places), policy.where(*min(places)))
        for rule, places in uses.items()
    ]


def _as_found(rule: Rule) -> Rule:
    """What a rule does, and how bad that is, makes no difference to what it finds."""
    return replace(rule, action=Action.FLAG, replacement="", score=0, severity="medium", is_secret=False)


def prove(policy: PolicySet) -> None:
    """Check every rule, and try it on its examples.

    Raises:
        PolicyError: with all faults that were seen.
    """
    faults: list[str] = []
    rules = distinct_rules(policy)
    for one in rules:
        try:
            _check(one, policy.max_hold_chars)
        except PolicyError as error:
            faults += error.faults
    if not faults:
        faults = list(_wrong_examples([one for one in rules if one.rule.hits or one.rule.misses]))
    if faults:
        raise PolicyError(faults)


def _check(one: Distinct, max_hold_chars: int) -> None:
    validator = one.rule.validator
    if validator is not None and validator not in VALIDATORS:
        raise one.fault(f"validate: {validator!r}: no such check{nearest(validator, VALIDATORS)}")
    longest = max((pattern.longest for patterns in one.patterns() for pattern in patterns), default=0)
    if longest > max_hold_chars and "output" in one.directions:
        raise one.fault(f"a find may have {longest} characters, and max_hold_chars is {max_hold_chars}")


def _wrong_examples(rules: Sequence[Distinct]) -> Iterator[str]:
    """Rules do not depend on each other, so that one matcher of all tries each one alone."""
    matcher = Matcher([one.rule for one in rules], (), VALIDATORS, is_streamed=False)
    for order, one in enumerate(rules):
        for number, text in enumerate(one.rule.hits, 1):
            if not _is_found(matcher, order, text):
                yield f"{one.where}: examples: hit number {number}: nothing is found in it"
        for number, text in enumerate(one.rule.misses, 1):
            if _is_found(matcher, order, text):
                yield f"{one.where}: examples: miss number {number}: something is found in it"


def _is_found(matcher: Matcher, order: int, text: str) -> bool:
    return any(find.order == order for find in matcher.scan(text))
