"""From entries as written to the rules of each profile: packs, then overrides, then what an action needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from weir.guard.policy.errors import PolicyError, nearest
from weir.guard.policy.schema import Change, DirectionName, Override, PackUse, PolicyFile, Profile
from weir.guard.policy.wildcard import fits
from weir.guard.rules import Action, AnswerRule, Rule, RuleSet

BASE = "base"  # the rule set of callers to whom no profile applies
_BOTH: tuple[DirectionName, ...] = ("input", "output")


class Origin(NamedTuple):
    """The file that a rule is written in, as error messages call it, and the pack, if it comes from one."""

    file: str
    pack: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A rule whose action may still change, so that its replacement is not settled. `directions` None: the default."""

    rule: Rule
    directions: tuple[DirectionName, ...] | None
    replacement: str | None
    text: str | None
    origin: Origin

    def fault(self, reason: str) -> PolicyError:
        return PolicyError([f"{self.origin.file}: rule {self.rule.id!r}: {reason}"])

    def changed(self, change: Change) -> "Written":
        """Return it with what `change` names."""
        rule = self.rule
        rule = replace(
            rule,
            action=rule.action if change.action is None else Action(change.action),
            score=rule.score if change.score is None else change.score,
            severity=change.severity or rule.severity,
        )
        replacement = self.replacement if change.replacement is None else change.replacement
        return replace(self, rule=rule, replacement=replacement, text=self.text if change.text is None else change.text)

    def turned(self, directions: tuple[DirectionName, ...] | None) -> "Written":
        return self if directions is None else replace(self, directions=directions)

    def narrowed(self, directions: tuple[DirectionName, ...] | None) -> "Written":
        """Return it for those of its directions that are also in `directions`."""
        if directions is None:
            return self
        own = _BOTH if self.directions is None else self.directions
        return replace(self, directions=tuple(direction for direction in own if direction in directions))

    def settled(self, marker: str) -> tuple[Rule, tuple[DirectionName, ...]]:
        """Return the rule, its replacement chosen by what it does, and where it holds."""
        action = self.rule.action
        if action is Action.FALLBACK:
            if self.text is None:
                raise self.fault("fallback needs a text")
            directions = self.directions if self.directions is not None else ("output",)
            return replace(self.rule, replacement=self.text), directions
        if action is Action.REWRITE and self.replacement is None:
            raise self.fault("rewrite needs a replacement")
        text = marker if self.replacement is None else self.replacement
        directions = self.directions if self.directions is not None else _BOTH
        return replace(self.rule, replacement=text.replace("{rule}", self.rule.id)), directions


@dataclass(frozen=True, slots=True)
class Sources:
    """All that a policy draws in, read: entries, packs by label, answer rules, allowed finds by profile."""

    file: str
    policy: PolicyFile
    own: tuple[Written, ...]
    packs: Mapping[str, tuple[Written, ...]]
    answers: tuple[AnswerRule, ...]
    allow: Mapping[str, tuple[str, ...]]


class Resolved(NamedTuple):
    """The rule sets by profile, and where each rule of them was written, by direction and id."""

    rule_sets: Mapping[str, RuleSet]
    origins: Mapping[tuple[str, str], Origin]


def resolved(sources: Sources) -> Resolved:
    """Apply packs and overrides for the base and for every profile."""
    origins: dict[tuple[str, str], Origin] = {}
    rule_sets = {BASE: _rule_set(sources, BASE, None, origins)}
    for name, profile in sources.policy.profiles.items():
        if name == BASE:
            raise PolicyError([f"{sources.file}: profiles: base is the policy itself; choose another name"])
        rule_sets[name] = _rule_set(sources, name, profile, origins)
    return Resolved(rule_sets, origins)


def _rule_set(sources: Sources, name: str, profile: Profile | None, origins: dict[tuple[str, str], Origin]) -> RuleSet:
    policy, where = sources.policy, f"{sources.file}: " + ("" if profile is None else f"profiles: {name}: ")
    entries = [*sources.own, *_from_packs(sources, _packs_of(policy, profile), where)]
    answers = sources.answers
    for overrides, place in _overrides_of(sources, profile, where):
        _check_names(overrides, [*(e.rule.id for e in entries), *(a.id for a in sources.answers)], place)
        entries = [kept for entry in entries if (kept := _overridden(entry, overrides))]
        answers = tuple(left for answer in answers if (left := _answer_overridden(answer, overrides)))
    rules: dict[str, list[Rule]] = {direction: [] for direction in _BOTH}
    for entry in entries:
        rule, directions = entry.settled(policy.defaults.marker)
        for direction in directions:
            rules[direction].append(rule)
            origins.setdefault((direction, rule.id), entry.origin)
    _check_unique(entries, rules, answers, sources.file)
    score = policy.score_block if profile is None or profile.score_block is None else profile.score_block
    allow = sources.allow[BASE] + (() if profile is None else sources.allow[name])
    own_hosts = policy.own_hosts + (() if profile is None else profile.own_hosts)
    return RuleSet(name, tuple(rules["input"]), tuple(rules["output"]), answers, allow, score, own_hosts)


def _overrides_of(
    sources: Sources, profile: Profile | None, where: str
) -> Iterable[tuple[Mapping[str, Override], str]]:
    yield sources.policy.overrides, f"{sources.file}: overrides"
    if profile is not None:
        yield profile.overrides, f"{where}overrides"


def _packs_of(policy: PolicyFile, profile: Profile | None) -> tuple[PackUse, ...]:
    if profile is None:
        return policy.packs
    replaced = {use.label for use in profile.packs}
    return tuple(use for use in policy.packs if use.label not in replaced) + profile.packs


def _from_packs(sources: Sources, uses: Sequence[PackUse], where: str) -> Iterable[Written]:
    for use in uses:
        entries = sources.packs[use.label]
        _check_names(use.off, [entry.rule.id for entry in entries], f"{where}pack {use.label!r}: off")
        for entry in entries:
            if not any(fits(name, entry.rule.id) for name in use.off):
                yield entry.changed(use).narrowed(use.direction)


def _overridden(entry: Written, overrides: Mapping[str, Override]) -> Written | None:
    for name, override in overrides.items():
        if fits(name, entry.rule.id):
            if override.off:
                return None
            entry = entry.changed(override).turned(override.direction)
    return entry


def _answer_overridden(answer: AnswerRule, overrides: Mapping[str, Override]) -> AnswerRule | None:
    for name, override in overrides.items():
        if fits(name, answer.id):
            if override.off:
                return None
            action = answer.action if override.action is None else Action(override.action)
            answer = replace(answer, action=action, replacement=override.text or answer.replacement)
    return answer


def _check_names(names: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in names:
        if not any(fits(name, one) for one in known):
            raise PolicyError([f"{where}: {name!r}: no such rule{nearest(name, known)}"])


def _check_unique(
    entries: Sequence[Written], rules: Mapping[str, list[Rule]], answers: Sequence[AnswerRule], file: str
) -> None:
    for direction, found in rules.items():
        ids = [rule.id for rule in found] + [answer.id for answer in answers if direction == "output"]
        twice = next((name for name in ids if ids.count(name) > 1), None) if len(set(ids)) < len(ids) else None
        if twice is not None:
            files = dict.fromkeys(e.origin.file for e in entries if e.rule.id == twice)
            raise PolicyError([f"{file}: two {direction} rules are called {twice!r} ({', '.join(files)})"])
