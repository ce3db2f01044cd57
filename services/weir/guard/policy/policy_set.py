"""What a policy is once it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass

from weir.guard.policy.resolving import BASE, Origin
from weir.guard.policy.schema import Application
from weir.guard.policy.wildcard import fits
from weir.guard.rules import RuleSet


@dataclass(frozen=True, slots=True)
class PolicySet:
    """One version of the operator's rules, resolved.

    Attributes:
        file: what error messages call it.
        sha256: over the policy file and every file that it draws in, packs included.
        rule_sets: by profile; `base` is always there.
        apply: who gets which profile; the first that fits decides.
        origins: where each rule is written, by direction (`input`, `output`) and id.
        max_hold_chars: no rule may make a stream hold back more.
        warnings: what is probably not meant, but no reason to refuse.
        files: digests of all that was read.
    """

    file: str
    id: str
    version: int
    sha256: str
    rule_sets: Mapping[str, RuleSet]
    apply: tuple[Application, ...]
    origins: Mapping[tuple[str, str], Origin]
    max_hold_chars: int
    warnings: tuple[str, ...]
    files: Mapping[str, str]

    @property
    def base(self) -> RuleSet:
        return self.rule_sets[BASE]

    def where(self, direction: str, rule: str) -> str:
        """Say where a rule is written, as error messages begin."""
        return f"{self.origins[direction, rule].file}: rule {rule!r}"

    def profile_of(self, route: str, key_id: str | None, key_name: str | None) -> str:
        """Return the name of the profile that a caller on a route gets."""
        keys = [key for key in (key_id, key_name) if key is not None]
        for one in self.apply:
            if one.route is not None and not fits(one.route, route):
                continue
            if one.key is None or any(fits(one.key, key) for key in keys):
                return one.profile
        return BASE
