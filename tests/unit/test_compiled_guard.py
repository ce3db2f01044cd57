"""A compiled policy: what callers get, and what it costs to build."""

import json
import random
import time

import pytest

from weir.guard.compiled import CompiledGuard
from weir.guard.policy import PolicyError, PolicySet, parse_policy
from weir.guard.rules import Action

POLICY = """
version: 1
id: p
rules:
  - {id: word, action: block, terms: [attack, 攻击]}
  - {id: name, action: redact, direction: output, terms: [Alice]}
answers:
  - {id: everywhere, action: block, topics: [weir]}
  - {id: chat, action: fallback, text: no, topics: [weir], routes: ["/v1/*"]}
profiles:
  mild: {overrides: {word: {action: flag}}}
  same: {}
apply:
  - {key: mild-*, profile: mild}
  - {route: /same, profile: same}
"""


@pytest.fixture(scope="module")
def guard() -> CompiledGuard:
    return CompiledGuard.build(parse_policy(POLICY))


def test_a_caller_gets_what_his_profile_says(guard: CompiledGuard) -> None:
    base, mild = guard.chosen("/generate", None, None), guard.chosen("/generate", "k1", "mild-one")

    assert (base.profile, base.input.check("an attack").verdict.action) == ("base", Action.BLOCK)
    assert (mild.profile, mild.input.check("an attack").verdict.action) == ("mild", Action.FLAG)
    assert base.output.whole("Alice, attack now").text == "[name], "
    assert mild.output.whole("Alice, attack now").text == "[name], attack now"
    assert {(one.policy_id, one.policy_sha256) for one in (base, mild)} == {("p", guard.policy.sha256)}


def test_answer_rules_hold_on_their_routes(guard: CompiledGuard) -> None:
    def held(route: str) -> list[str]:
        return [check.rule.id for check in guard.chosen(route, None, None).answers]

    assert held("/generate") == ["everywhere"]
    assert held("/v1/chat/completions") == ["everywhere", "chat"]


def test_profiles_share_what_they_do_not_change(guard: CompiledGuard) -> None:
    base, same, mild = (guard.chosen("/same" if key == "same" else "/", key, None) for key in ("x", "same", "mild-1"))

    assert same.profile == "same"
    assert same.input is base.input
    assert same.output is base.output
    assert mild.input is not base.input


def test_the_same_caller_is_looked_up_once(guard: CompiledGuard) -> None:
    assert guard.chosen("/generate", "k", "n") is guard.chosen("/generate", "k", "n")


def test_made_up_callers_do_not_fill_the_memory() -> None:
    guard = CompiledGuard.build(parse_policy("version: 1\nid: p"))

    for number in range(25_000):
        guard.chosen("/generate", f"k{number}", None)

    assert len(guard._chosen) <= 10_000


def test_a_policy_that_does_not_hold_is_not_built() -> None:
    with pytest.raises(PolicyError, match=r"rule 'a': .*repeats without end"):
        CompiledGuard.build(
            parse_policy(
                "version: 1\nid: p\nrules: [{id: a, action: flag, regex: 'a.*b', examples: {hit: [ab], miss: [x]}}]"
            )
        )


def test_a_schema_that_is_none_is_told_by_file_and_rule() -> None:
    with pytest.raises(PolicyError, match=r"policy.yaml: answer rule 'a': schema: "):
        CompiledGuard.build(parse_policy("version: 1\nid: p\nanswers: [{id: a, action: block, schema: {type: strin}}]"))


def large_policy(seed: int = 5) -> str:
    """10,000 terms, half of them Chinese, and 100 regexes of all forms with four examples each."""
    rng = random.Random(seed)
    han = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
    zh = ["".join(rng.choices(han, k=rng.randint(2, 5))) for _ in range(5000)]
    en = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(5, 12))) for _ in range(5000)]
    rules = []
    for number in range(100):
        regex, hit = [
            (rf"\bk{seed}x{number}[-_][a-z0-9]{{8,20}}\b", f"k{seed}x{number}-abcdefgh1"),
            (rf"\bx{seed}x{number}_[A-Za-z0-9]{{20,}}", f"x{seed}x{number}_" + "a" * 24),
            (rf"tok{seed}x{number}[:=]\s{{0,3}}[0-9a-f]{{32}}", f"tok{seed}x{number}: " + "0" * 32),
        ][number % 3]
        examples = {"hit": [hit, f"前{hit} 后"], "miss": ["nothing", "k - x"]}
        rules.append({"id": f"r{number}", "regex": regex, "action": "redact", "examples": examples})
    lists = [{"id": "terms", "terms": [*zh, *en], "action": "block"}]
    return json.dumps({"version": 1, "id": "large", "lists": lists, "rules": rules}, ensure_ascii=False)


@pytest.mark.timed
def test_a_large_policy_is_loaded_tried_and_warmed_in_time() -> None:
    def loaded(text: str) -> tuple[PolicySet, float]:
        began = time.thread_time()
        policy = CompiledGuard.build(parse_policy(text)).policy
        return policy, time.thread_time() - began

    loads = [loaded(large_policy(seed)) for seed in range(3)]  # nothing of one is of use to the next

    assert {sum(len(rule.terms) for rule in policy.base.input) for policy, _ in loads} == {10_000}
    assert min(seconds for _, seconds in loads) < 1.0, "0.5 s on an idle core; twice that where others work too"
