"""What `weir guard check` tells of a policy: where its rules come from, what forms they have, how long streams wait."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weir.guard.patterns import Pattern
from weir.guard.policy import PolicySet
from weir.guard.proving import distinct_rules

OWN = "(own)"  # rules of the policy's own file


@dataclass(frozen=True, slots=True)
class PackCounts:
    """Rules of one pack, or of the policy's own file, in the base."""

    pack: str
    rules: int
    input: int
    output: int
    terms: int
    regexes: int
    secrets: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a policy holds.

    Attributes:
        forms: regexes by how a stream follows them (patterns.py).
        longest_hold: the most characters that a regex may make a stream hold back, and the rule's id.
        hits, misses: examples that were tried.
    """

    id: str
    version: int
    sha256: str
    profiles: tuple[str, ...]
    packs: tuple[PackCounts, ...]
    forms: dict[str, int]
    longest_hold: tuple[int, str]
    hits: int
    misses: int
    warnings: tuple[str, ...]


def summary_of(policy: PolicySet) -> Summary:
    rules = distinct_rules(policy)
    forms: Counter[str] = Counter()
    longest = (0, "")
    for one in rules:
        for patterns in one.patterns():
            forms[form_of(patterns)] += 1
            if "output" in one.directions:
                longest = max(longest, (max(pattern.longest for pattern in patterns), one.rule.id))
    return Summary(
        id=policy.id,
        version=policy.version,
        sha256=policy.sha256,
        profiles=tuple(policy.rule_sets),
        packs=_counts(policy),
        forms=dict(sorted(forms.items())),
        longest_hold=longest,
        hits=sum(len(one.rule.hits) for one in rules),
        misses=sum(len(one.rule.misses) for one in rules),
        warnings=policy.warnings,
    )


def form_of(patterns: Sequence[Pattern]) -> str:
    if any(pattern.is_overflow for pattern in patterns):
        return "capped"
    if any(pattern.until is not None for pattern in patterns):
        return "until"
    return "running" if any(pattern.run for pattern in patterns) else "bounded"


def _counts(policy: PolicySet) -> tuple[PackCounts, ...]:
    base = policy.base
    places = [("input", rule) for rule in base.input] + [("output", rule) for rule in base.output]
    packs: dict[str, list[tuple[str, Any]]] = {}
    for direction, rule in places:
        packs.setdefault(policy.origins[direction, rule.id].pack or OWN, []).append((direction, rule))
    return tuple(_pack_counts(pack, held) for pack, held in sorted(packs.items()))


def _pack_counts(pack: str, held: Sequence[tuple[str, Any]]) -> PackCounts:
    directions = Counter(direction for direction, _ in held)
    rules = {rule.id: rule for _, rule in held}.values()
    return PackCounts(
        pack=pack,
        rules=len(rules),
        input=directions["input"],
        output=directions["output"],
        terms=sum(len(rule.terms) for rule in rules),
        regexes=sum(len(rule.regexes) for rule in rules),
        secrets=sum(rule.is_secret for rule in rules),
    )
