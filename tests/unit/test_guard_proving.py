"""A policy is refused when a rule cannot be held in a stream, or judges its own examples otherwise than it says."""

import pytest

from weir.guard.policy import PolicyError, default_policy, parse_policy
from weir.guard.proving import distinct_rules, prove

HEAD = "version: 1\nid: p\n"


def faults(rules: str) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        prove(parse_policy(HEAD + rules))
    return caught.value.faults


def rule(regex: str, more: str = "", hit: str = "ab", miss: str = "-") -> str:
    return f"rules: [{{id: a, action: redact, regex: '{regex}', examples: {{hit: ['{hit}'], miss: ['{miss}']}}{more}}}]"


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        ("a(?=b)", "RE2 has no look-around such as (?=…) or (?<=…): write what stands there"),
        ("(?<!x)ab", "RE2 has no look-around such as (?!…) or (?<!…): use "),
        (r"(a)b\1", "RE2 has no backreference such as \\1: write out what may stand there"),
        ("(x)?(?(1)a|b)", "RE2 has no condition such as (?(1)…): write both cases out"),
        ("(?>a)b", "RE2 has no atomic group (?>…): write (?:…)"),
        ("a{1,3}+b", "RE2 has no possessive repeat such as a++: drop the second +"),
        (r"\p{Han}b", r"not a regex: bad escape \p at position 0; for \p{Han} write [\u4e00-\u9fff]"),
        ("a.*b", "repeats without end"),
        ("(?:a+)+b", "repeats without end"),
        ("a{600}", "a match may have 600 characters"),
        ("a*", "it matches the empty text"),
        ("[a", "not a regex"),
    ],
)
def test_a_regex_that_no_stream_can_follow_is_refused(regex: str, words: str) -> None:
    (fault,) = faults(rule(regex))

    assert fault.startswith("policy.yaml: rule 'a': ")
    assert words in fault
    assert regex not in fault


def test_a_cap_makes_an_unbounded_part_possible() -> None:
    prove(parse_policy(HEAD + rule("a.*b", ", cap: 64")))


def test_a_rule_for_prompts_alone_needs_no_bound() -> None:
    prove(parse_policy(HEAD + rule("a.*b", ", direction: input")))


def test_the_regex_of_several_is_told() -> None:
    rules = "rules: [{id: a, action: flag, any: [x, 'a.*b'], examples: {hit: [x], miss: [y]}}]"

    assert "rule 'a': regex number 2: " in faults(rules)[0]


def test_an_unknown_check_is_refused() -> None:
    assert faults(rule("ab", ", validate: luhm")) == (
        "policy.yaml: rule 'a': validate: 'luhm': no such check (did you mean 'luhn'?)",
    )


def test_a_find_longer_than_streams_may_wait_is_refused() -> None:
    rules = "defaults: {max_hold_chars: 20}\n"

    prove(parse_policy(HEAD + rules + rule("[ab]{2,20}")))
    assert faults(rules + rule("[ab]{2,21}")) == (
        "policy.yaml: rule 'a': a find may have 21 characters, and max_hold_chars is 20",
    )
    prove(parse_policy(HEAD + rules + rule("[ab]{2,21}", ", direction: input")))


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        (rule("ab", hit="电话12"), "rule 'a': examples: hit number 1: nothing is found in it"),
        (rule("ab", miss="是ab。"), "rule 'a': examples: miss number 1: something is found in it"),
        (
            "rules: [{id: a, action: flag, terms: [hack], examples: {hit: [hack, hackathon]}}]",
            "rule 'a': examples: hit number 2: nothing is found in it",
        ),
        (
            "rules: [{id: a, action: flag, direction: input, regex: '1[0-9]{15}', validate: luhn, "
            "examples: {hit: ['1234567890123456'], miss: [x]}}]",
            "rule 'a': examples: hit number 1: nothing is found in it",
        ),
    ],
)
def test_an_example_that_is_judged_otherwise_is_told_by_number(rules: str, fault: str) -> None:
    assert faults(rules) == (f"policy.yaml: {fault}",)


def test_every_wrong_example_is_told_at_once() -> None:
    rules = (
        "rules:\n"
        "  - {id: a, action: flag, terms: [x], examples: {hit: [x, y], miss: [x]}}\n"
        "  - {id: b, action: flag, terms: [y], examples: {hit: [x]}}\n"
    )

    assert [fault.split(": ", 1)[1] for fault in faults(rules)] == [
        "rule 'a': examples: hit number 2: nothing is found in it",
        "rule 'a': examples: miss number 1: something is found in it",
        "rule 'b': examples: hit number 1: nothing is found in it",
    ]


def test_a_rule_is_tried_alone_whatever_others_and_allow_lists_say() -> None:
    rules = (
        "rules:\n"
        "  - {id: all, action: block, regex: '[a-z]{1,9}', examples: {hit: [x], miss: ['1']}}\n"
        "  - {id: a, action: flag, terms: [fine], examples: {hit: [fine], miss: [other]}}\n"
        "allow: [fine]\n"
    )

    prove(parse_policy(HEAD + rules))


def test_profiles_that_change_only_what_is_done_share_a_rule() -> None:
    rules = (
        "rules: [{id: a, action: block, terms: [x]}]\n"
        "profiles: {mild: {overrides: {a: {action: flag, score: 9}}}, half: {overrides: {a: {direction: input}}}}\n"
        "apply: [{key: k, profile: mild}, {key: l, profile: half}]"
    )

    (one,) = distinct_rules(parse_policy(HEAD + rules))

    assert (one.where, one.directions) == ("policy.yaml: rule 'a'", {"input", "output"})


def test_the_packaged_policy_holds() -> None:
    prove(default_policy())
