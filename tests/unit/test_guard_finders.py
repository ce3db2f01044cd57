"""Where a text has many matches of a regex they are found in C: those that RE2 finds, denied by the same validators."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from random import Random
from string import ascii_letters, digits
from typing import Any

import pytest
import re2
from tests.support import identities
from tests.support.guard_cases import VALIDATORS as OF_CASES
from tests.support.guard_cases import policy, ruleset, text
from tests.support.guard_regexes import any_regex, matching, packaged_patterns

from weir.guard import finders, regexes
from weir.guard.finders import finder_of
from weir.guard.input import InputFilter
from weir.guard.native.build import build
from weir.guard.native.library import Core, wide
from weir.guard.output import OutputGuard
from weir.guard.patterns import Pattern, _single, compiled, read_regex, run_end, spans
from weir.guard.regexes import Match
from weir.guard.rules import Action, Rule, RuleSet
from weir.guard.searched import Encoded
from weir.guard.validators import VALIDATORS

_ALIKE = ((0x3500, 0x9E00), (0xAD00, 0xD700), (0xD800, 0xE000), (0xE100, 0xF800), (0x20100, 0x10FF00))  # to every class
_EVERYTHING = "".join(chr(code) for code in range(0x110000) if not any(first <= code < last for first, last in _ALIKE))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Core:
    """The library as this checkout's sources make it; whether one was installed makes no difference."""
    return Core(build(tmp_path_factory.mktemp("native")))


def _by_re2(pattern: Pattern, some: Encoded, begin: int) -> list[tuple[int, int]]:
    """Return what the part that makes a match certain matches, and how far it goes on."""
    found: list[tuple[int, int]] = []
    run = compiled(f"(?:{pattern.run})*") if pattern.run else None
    while True:
        first = next(spans(compiled(pattern.search), some.raw, some.byte(begin)), None)
        if first is None:
            return found
        end = first[1] if run is None else run_end(run, some.raw, first[1])
        found.append((some.character(first[0]), some.character(end)))
        begin = found[-1][1]


def _in_c(core: Core, pattern: Pattern, some: Encoded, begin: int) -> list[tuple[int, int]] | None:
    """Return what is found in C; None: a part of the text was left to RE2."""
    finder = finder_of(core, pattern)
    assert finder is not None
    found, place = finder.matches(Match, (0, 0), some, begin, (-1, None), is_end=True)
    return [(one.start, one.end) for one in found] if place == len(some.plain) else None


def test_nearly_all_packaged_rules_have_a_finder(built: Core) -> None:
    for is_streamed in (False, True):
        patterns = [one for one in packaged_patterns(is_streamed=is_streamed) if one.until is None]
        found = sum(finder_of(built, one) is not None for one in patterns)
        assert found > 0.97 * len(patterns)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_what_is_found_in_c_is_what_re2_finds(built: Core, is_streamed: bool) -> None:
    random, num_found, num_left = Random(11), 0, 0
    for pattern in packaged_patterns(is_streamed=is_streamed):
        if finder_of(built, pattern) is None:
            continue
        for _ in range(5):
            parts: list[str] = []
            for _ in range(random.randint(1, 5)):
                parts += matching(random, pattern.nodes, pattern.flags)
                parts.append(random.choice(("", " ", "，", "x", "1", "-", "\n", "_", "é", "ſ", "K", "😀")))
            if random.random() < 0.4:
                del parts[random.randrange(len(parts))]
            some = Encoded("".join(parts))
            begin = random.choice((0, 0, random.randint(0, len(some.plain))))
            found = _in_c(built, pattern, some, begin)
            num_left += found is None
            assert found is None or found == _by_re2(pattern, some, begin), (pattern.search, some.plain, begin)
            num_found += len(found or ())
    assert num_found > 500
    assert num_left < 30


def test_any_regex_is_followed_as_re2_follows_it(built: Core) -> None:
    random, num_checked, num_found = Random(12), 0, 0
    while num_checked < 12_000:
        try:
            keeps_case, cap = random.random() < 0.4, random.choice((None, 30))
            patterns = read_regex(any_regex(random), keeps_case=keeps_case, cap=cap, is_streamed=random.random() < 0.5)
        except ValueError:
            continue
        for pattern in patterns:
            if pattern.until is not None or finder_of(built, pattern) is None:
                continue
            for _ in range(4):
                some = Encoded("".join(random.choices("aabkKsS1 -_\n词ſK\u00e9", k=random.randint(1, 24))))
                begin = random.choice((0, random.randint(0, len(some.plain))))
                found = _in_c(built, pattern, some, begin)
                assert found is None or found == _by_re2(pattern, some, begin), (pattern.search, some.plain, begin)
                num_checked, num_found = num_checked + 1, num_found + len(found or ())
    assert num_found > 6_000


def test_classes_hold_the_characters_that_they_hold_for_re2() -> None:
    nodes = {
        (pattern.flags, op, str(content)): (op, content, pattern.flags)
        for pattern in packaged_patterns(is_streamed=True)
        for op, content in _characters(pattern.nodes)
    }
    assert len(nodes) > 200
    for op, content, flags in nodes.values():
        try:
            spans_of = finders._set(op, content, flags)
        except finders._UnsureError:
            continue
        own = "".join(map(_all_between, spans_of))
        written = ("(?i)" if flags & 2 else "") + _single(op, content)
        assert "".join(re2.findall(f"{written}+", _EVERYTHING)) == own, written


def test_no_character_said_to_have_no_case_has_one_for_re2() -> None:
    for first, last in finders._CASELESS:
        found = re2.findall(f"(?i)[\\x{{{first:x}}}-\\x{{{last:x}}}]+", _EVERYTHING)
        assert "".join(found) == _all_between((first, last))


def _all_between(span: tuple[int, int]) -> str:
    first, last = bisect_left(_EVERYTHING, chr(span[0])), bisect_right(_EVERYTHING, chr(span[1]))
    return _EVERYTHING[first:last]


def _characters(nodes: Iterable[Any]) -> Iterator[Any]:
    for op, content in nodes:
        name = str(op)
        if name == "BRANCH":
            for branch in content[1]:
                yield from _characters(branch)
        elif name == "SUBPATTERN":
            yield from _characters(content[3])
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            yield from _characters(content[2])
        elif name not in ("AT", "ANY"):
            yield op, content


def _with_letters_for_digits(random: Random) -> str:
    code = list(identities.codice_fiscale(random))
    for place in random.sample((6, 7, 9, 10, 12, 13, 14), 2):
        code[place] = "LMNPQRSTUV"[int(code[place])]
    return "".join(code)


_MAKERS = {
    "card": (identities.card, identities.bank_card),
    "cn-bank": (identities.bank_card, identities.card),
    "gb11643": (identities.resident_id,),
    "gb11643-15": (identities.old_resident_id,),
    "cn-mobile": (identities.mobile, lambda _: "15000000000", lambda r: f"86{identities.mobile(r)}"),
    "us-ssn": (identities.ssn, lambda _: "078051120"),
    "us-itin": (identities.itin,),
    "us-aba": (identities.routing_number,),
    "us-npi": (identities.npi,),
    "us-phone": (identities.us_phone, lambda r: "1" + identities.us_phone(r)),
    "uk-nhs": (identities.nhs_number,),
    "de-steuer-id": (identities.steuer_id,),
    "es-dni": (identities.dni, identities.nie),
    "nl-bsn": (identities.bsn,),
    "pl-pesel": (identities.pesel,),
    "be-national": (identities.belgian_number,),
    "se-personnummer": (identities.personnummer, lambda r: "19" + identities.personnummer(r)),
    "fi-hetu": (identities.hetu,),
    "fr-nir": (identities.nir, lambda r: identities.nir(r)[:5] + "2A" + identities.nir(r)[7:]),
    "pt-nif": (identities.nif,),
    "iban": (identities.iban,),
    "phone-e164": (identities.mobile, lambda r: f"+{r.randrange(1000)} {identities.digits(r, 9)}"),
    "ch-ahv": (identities.ahv,),
    "it-codice-fiscale": (identities.codice_fiscale, _with_letters_for_digits),
    "base58-wallet": (identities.bitcoin_address, lambda r: "1" + identities.bitcoin_address(r)),
    "email": (
        lambda r: f"{identities.some(r, ascii_letters, 4)}@x.{r.choice(('com', 'PNG', 'py'))}",
        lambda _: "git@a.b",
    ),
}


@pytest.mark.parametrize("name", _MAKERS)
def test_a_check_in_c_says_what_the_validator_says(built: Core, name: str) -> None:
    random, check, validate = Random(13), built.checks[name], VALIDATORS[name]
    said = {True: 0, False: 0}
    for _ in range(6_000):
        one = list(random.choice(_MAKERS[name])(random))
        for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
            place = random.randrange(len(one) + 1)
            letter = random.choice(digits * 2 + " -.XxZz2AaB\u00e9٣\t\x1c")
            if random.random() < 0.5:
                one[place : place + 1] = [letter]
            else:
                one.insert(place, random.choice(" -./"))
        number = "".join(one) * random.choice((1, 1, 1, 1, 1, 1, 1, 4))
        right = validate(number)
        in_c = built.module.check(check, wide(number))
        assert in_c in (-1, right), number
        assert in_c >= 0 or not number.isascii()
        said[right] += 1
    assert min(said.values()) > 300
    for short in ("", "1", "12", "A", "0" * 60, " "):
        try:
            right = validate(short)
        except (IndexError, ValueError):
            continue
        assert built.module.check(check, wide(short)) == right


def test_all_checks_in_c_are_compared(built: Core) -> None:
    assert set(built.checks) == set(_MAKERS)
    assert set(built.checks) <= set(VALIDATORS)


def test_prompts_and_answers_are_judged_alike(built: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    random, num_found = Random(14), 0
    monkeypatch.setattr(regexes, "FEW", 0)
    for _ in range(150):
        known, allow = policy(random)
        rules = RuleSet(input=tuple(one.rule for one in known), output=ruleset(known, allow).output, allow=tuple(allow))
        texts = ["".join(text(random, known) for _ in range(random.randint(1, 5))) for _ in range(12)]
        judged = []
        for core in (built, None):
            monkeypatch.setattr(regexes, "core", lambda core=core: core)
            asked, answered = InputFilter(rules, OF_CASES), OutputGuard(rules, OF_CASES)
            judged.append([(asked.check(one), answered.whole(one)) for one in texts])
        assert judged[0] == judged[1]
        num_found += sum(len(checked.finds) for checked, _ in judged[0])
    assert num_found > 2_000


def test_what_denies_a_find_may_be_written_in_python(built: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regexes, "core", lambda: built)
    rules = RuleSet(input=(Rule("even", Action.REDACT, regexes=(r"\b[0-9]{3}\b",), validator="even"),))
    numbers = " ".join(map(str, range(100, 200)))
    found = InputFilter(rules, {"even": lambda one: int(one) % 2 == 0}).check(numbers)
    assert len(found.finds) == 50
    assert found.text.split()[::2] == ["[redacted]"] * 50

    def fails(one: str) -> bool:
        if one == "150":
            raise RuntimeError(one)
        return True

    with pytest.raises(RuntimeError, match="150"):
        InputFilter(rules, {"even": fails}).check(numbers)


@pytest.mark.parametrize("regex", ["(?:a|b)*a(?:a|b){14}x", "\\b(?:a|b)*a(?:a|b){14}x", "c[^x]*y"])
def test_what_takes_too_many_states_or_steps_is_left_to_re2(built: Core, regex: str) -> None:
    random, pattern = Random(15), read_regex(regex, is_streamed=False)[0]
    letters = "c" if regex.startswith("c") else "ab"
    some = Encoded("aabbaabbaabbaabbaabbx cx " + "".join(random.choices(letters, k=40_000)) + " ax")
    finder = finder_of(built, pattern)
    assert finder is not None

    found, place = finder.matches(Match, (0, 0), some, 0, (-1, None), is_end=True)

    assert 20 < place < 20_000
    all_found = _by_re2(pattern, some, 0)
    assert [(one.start, one.end) for one in found] == [span for span in all_found if span[0] < place]
    assert _by_re2(pattern, some, place) == [span for span in all_found if span[0] >= place]
