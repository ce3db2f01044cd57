"""A policy ready to run: its rules proved, its matchers built and warm. Building takes a while; choosing does not."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weir.contracts.errors import UsageError
from weir.guard.answers import AnswerCheck
from weir.guard.input import InputFilter
from weir.guard.output import OutputGuard
from weir.guard.policy import PolicyError, PolicySet
from weir.guard.policy.resolving import BASE
from weir.guard.policy.wildcard import fits
from weir.guard.proving import prove
from weir.guard.regexes import WARM_UP
from weir.guard.rules import RuleSet
from weir.guard.validators import validators_with

_MAX_REMEMBERED = 10_000  # callers and routes; a gateway has few of both, but callers can make up routes
_STEP = 4  # characters at a time: about what a token holds
_SAMPLE = (
    "Write to a.b-c@mail.example.com or call +44 20 7946 0958 before 2026-11-25, 10:30. 请联系客服，电话 13812345678，"
    "订单号 20261125-0042。\nSee https://www.example.com/a?b=c#d [link](https://example.com) ![image](x.png) "
    "`sk-abc` 10.0.0.1\n"
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What holds for one caller on one route."""

    profile: str
    rules: RuleSet
    input: InputFilter
    output: OutputGuard
    answers: tuple[AnswerCheck, ...]
    policy_id: str
    policy_sha256: str


class CompiledGuard:
    """A policy's filters and guards. What it was built from never changes; to change it, build another."""

    def __init__(self, policy: PolicySet, profiles: dict[str, Chosen]) -> None:
        self.policy = policy
        self._profiles = profiles
        self._chosen: dict[tuple[str, str | None, str | None], Chosen] = {}

    @classmethod
    def build(cls, policy: PolicySet) -> "CompiledGuard":
        """Try every rule on its examples, compile, and search some text so that the first request does not wait.

        Raises:
            PolicyError: a rule cannot be held, or judges an example otherwise than it says.
        """
        prove(policy)
        inputs: dict[RuleSet, InputFilter] = {}
        outputs: dict[RuleSet, OutputGuard] = {}
        profiles = {}
        for name, rules in policy.rule_sets.items():  # profiles share what they do not change
            asked = replace(rules, name=BASE, output=(), answer=())
            answered = replace(rules, name=BASE, input=(), answer=(), score_block=0)
            if asked not in inputs:
                inputs[asked] = InputFilter(asked, validators_with(rules.own_hosts))
            if answered not in outputs:
                outputs[answered] = OutputGuard(answered, validators_with(rules.own_hosts))
            answers = _answer_checks(policy, rules)
            profiles[name] = Chosen(name, rules, inputs[asked], outputs[answered], answers, policy.id, policy.sha256)
        _warm(inputs.values(), outputs.values())
        return cls(policy, profiles)

    def chosen(self, route: str, key_id: str | None, key_name: str | None) -> Chosen:
        caller = (route, key_id, key_name)
        found = self._chosen.get(caller)
        return self._choose(caller) if found is None else found

    def profile(self, name: str) -> Chosen:
        """Return what holds where a profile does, on routes without answer rules of their own."""
        return self._profiles[name]

    def _choose(self, caller: tuple[str, str | None, str | None]) -> Chosen:
        profile = self._profiles[self.policy.profile_of(*caller)]
        route = caller[0]
        answers = tuple(check for check in profile.answers if _holds_on(route, check.rule.routes))
        if len(self._chosen) >= _MAX_REMEMBERED:
            self._chosen.clear()
        self._chosen[caller] = replace(profile, answers=answers)
        return self._chosen[caller]


def _answer_checks(policy: PolicySet, rules: RuleSet) -> tuple[AnswerCheck, ...]:
    try:
        return tuple(map(AnswerCheck, rules.answer))
    except UsageError as error:
        raise PolicyError([f"{policy.file}: {error}"]) from None


def _holds_on(route: str, routes: tuple[str, ...]) -> bool:
    return not routes or any(fits(one, route) for one in routes)


def _warm(inputs: Iterable[InputFilter], outputs: Iterable[OutputGuard]) -> None:
    """RE2 builds its automata while it searches; the first search takes far longer than any later one."""
    for one in inputs:
        one.check(_SAMPLE)
    for guard in outputs:
        stream, text = guard.stream(), f"{_SAMPLE}{WARM_UP}"
        for start in range(0, len(text), _STEP):
            stream.feed(text[start : start + _STEP])
        stream.flush()
