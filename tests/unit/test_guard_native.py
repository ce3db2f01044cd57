"""The guard's search in C finds what the one in Python finds, and says the same about what may still become a find."""

from base64 import b64encode, urlsafe_b64encode
from binascii import hexlify
from collections.abc import Callable, Iterator
from random import Random

import pytest
from tests.support.guard_cases import VALIDATORS, cut, policy, ruleset, text
from tests.support.guard_reference import Known

from weir.guard import decoding, disguises, indexes, literals, repeats
from weir.guard.core_terms import CoreTerms
from weir.guard.disguises import Disguises
from weir.guard.fold import fold, plain
from weir.guard.input import InputFilter
from weir.guard.letters import is_letter
from weir.guard.matcher import Matcher
from weir.guard.native.build import build
from weir.guard.native.library import Core, encoded_words, wide
from weir.guard.output import OutputGuard
from weir.guard.patterns import compiled, read_regex
from weir.guard.policy import default_policy
from weir.guard.portable_terms import portable_indexes
from weir.guard.rules import Action, Rule, RuleSet
from weir.guard.searched import Encoded, Searched
from weir.guard.terms import term_lists, uses_of

Use = Callable[[Core | None], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Core:
    """The library as this checkout's sources make it; whether one was installed makes no difference."""
    return Core(build(tmp_path_factory.mktemp("native")))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """What is compiled from then on searches with the given library, or in Python."""

    def use(core: Core | None) -> None:
        for module in (indexes, literals, repeats, decoding, disguises):
            monkeypatch.setattr(module, "core", lambda: core)

    yield use
    monkeypatch.undo()


def policies(seed: int, count: int) -> Iterator[tuple[list[Known], list[str], list[str]]]:
    """Yield rules, an allow list and texts about them."""
    random = Random(seed)
    for _ in range(count):
        known, allow = policy(random)
        yield known, allow, [text(random, known) for _ in range(12)]


def test_terms_are_found_in_the_same_places_and_are_open_from_the_same_place_on(built: Core) -> None:
    random, num_found = Random(3), 0
    for known, _, texts in policies(3, 250):
        lists = term_lists(uses_of([one.rule for one in known]))
        if not lists.written:
            continue
        in_c, portable = CoreTerms(built, lists), portable_indexes(lists, is_streamed=True)
        for whole in map(fold, texts):
            end = random.randint(0, len(whole))
            begin, part = random.randint(0, end), whole[:end]
            for is_end in (False, True):
                expected = [one for i in portable for one in i.spans(Searched(part), begin, is_end=is_end)]
                assert sorted(in_c.spans(Searched(part), begin, is_end=is_end)) == sorted(expected), part
                num_found += len(expected)
            open_from = min(index.open_from(Searched(part), begin) for index in portable)
            assert in_c.open_from(Searched(part), begin) == open_from, (part, begin)
    assert num_found > 300


def test_disguises_are_seen_through_alike(built: Core, use: Use) -> None:
    num_found = 0
    for known, allow, texts in policies(4, 120):
        rules = [one.rule for one in known]
        found = []
        for core in (built, None):
            use(core)
            seen = Disguises(Matcher(rules, allow, VALIDATORS, is_streamed=False))
            found.append([sorted(seen.spans(Encoded(plain(one)))) for one in [*texts, *map(_disguised, texts)]])
        assert found[0] == found[1]
        num_found += sum(map(len, found[0]))
    assert num_found > 100


def _disguised(whole: str) -> str:
    """Drawn out, backwards, in base64 and in homophones, one after the other."""
    drawn_out = "".join(letter * 3 for letter in whole[:8])
    return f"{drawn_out} {whole[::-1]} {whole.encode().hex()} 民感磁 敏高词 Zm9v{whole[:3]} 枪枝弹药 qiangzhi"


def test_streams_hold_back_and_release_the_same(built: Core, use: Use) -> None:
    random = Random(5)
    for known, allow, texts in policies(5, 60):
        streams = []
        for core in (built, None):
            use(core)
            streams.append(OutputGuard(ruleset(known, allow), VALIDATORS))
        for whole in texts:
            ours, theirs = (guard.stream() for guard in streams)
            for piece in cut(random, whole):
                assert ours.feed(piece) == theirs.feed(piece), (whole, piece)
                assert ours.held_chars == theirs.held_chars
                if ours.is_over:
                    break


def test_prompts_are_judged_alike_where_a_list_is_long(built: Core, use: Use) -> None:
    random = Random(6)
    terms = tuple(
        {"".join(random.choices("abcdelo 敏感词弹药", k=random.randint(2, 7))).strip() for _ in range(900)} - {""}
    )
    rules = RuleSet(input=(Rule("short", Action.REDACT, terms=("敏感",)), Rule("long", Action.BLOCK, terms=terms)))
    filters = []
    for core in (built, None):
        use(core)
        filters.append(InputFilter(rules))
    for _ in range(150):
        whole = "".join(random.choices("abcdelo013 敏感词弹药。-", k=random.randint(1, 60)))
        assert filters[0].check(whole) == filters[1].check(whole), whole


def test_no_word_of_base64_that_says_something_is_passed_over(built: Core) -> None:
    random, num_said = Random(7), 0
    for _ in range(20_000):
        said = "".join(random.choices("abc é敏😀\n\t\x01\xa0", [9] * 9 + [1] * 2, k=random.randint(3, 9)))
        data = random.choice([said.encode(), said.encode("utf-16-le"), said.encode()[1:], random.randbytes(9)])
        word = random.choice([b64encode, urlsafe_b64encode, hexlify])(data).rstrip(b"=").decode()
        words = encoded_words(built, wide(f"= {word}!"), 6)
        assert [word[:-2] for word in words] == [word[:-2] for word in decoding._words(f"= {word}!")], word
        for start, end, may_be_text in words:
            is_text = decoding._said(f"= {word}!"[start:end].encode()) is not None
            assert may_be_text or not is_text, word
            num_said += is_text
    assert num_said > 5_000


def test_it_knows_all_letters_that_python_knows(built: Core) -> None:
    wrong = [
        code for code in range(0x110000) if is_letter(chr(code)) != bool(built.letters[code >> 3] >> (code & 7) & 1)
    ]
    assert not wrong


def test_every_match_begins_with_and_has_a_character_that_its_pattern_says() -> None:
    """Where none is there the regex is not searched for."""
    num_checked = 0
    for rule in (*default_policy().base.input, *default_policy().base.output):
        for regex in rule.regexes:
            for pattern in read_regex(
                regex, keeps_case=rule.keeps_case, until=rule.until, cap=rule.cap, is_streamed=False
            ):
                for example in rule.hits:
                    found = compiled(pattern.search).search(plain(example))
                    if found is not None:
                        assert pattern.first is None or found.group()[0] in pattern.first, regex
                        assert pattern.needed is None or not pattern.needed.isdisjoint(found.group()), regex
                        num_checked += 1
    assert num_checked > 200
