"""The guard's search in C finds what the one in Python finds, and says the same about what may still become a find."""

from base64 import b64encode, urlsafe_b64encode
from binascii import hexlify
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from tests.support.guard_cases import VALIDATORS, cut, policy, ruleset, text
from tests.support.guard_reference import Known

from weir.guard import (
    candidates,
    decoding,
    disguises,
    indexes,
    literals,
    regexes,
    repeats,
    searched,
    triggers,
    watching,
)
from weir.guard import fold as fold_module
from weir.guard.automata import single
from weir.guard.core_terms import CoreTerms
from weir.guard.disguises import Disguises
from weir.guard.fold import fold, fold_table, plain
from weir.guard.input import InputFilter
from weir.guard.letters import is_letter
from weir.guard.matcher import Matcher
from weir.guard.native.build import build
from weir.guard.native.library import Core, FoldTable, encoded_words, wide
from weir.guard.output import OutputGuard, StreamGuard
from weir.guard.patterns import compiled, read_regex
from weir.guard.policy import default_policy
from weir.guard.portable_terms import portable_indexes
from weir.guard.rules import Action, Find, Rule, RuleSet
from weir.guard.searched import Encoded, Searched
from weir.guard.terms import term_lists, uses_of

_ALL = default_policy().base
Use = Callable[[Core | None], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Core:
    """The library as this checkout's sources make it; whether one was installed makes no difference."""
    return Core(build(tmp_path_factory.mktemp("native")))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """What is compiled from then on searches with the given library, or in Python."""

    def use(core: Core | None) -> None:
        for module in (
            candidates,
            indexes,
            literals,
            regexes,
            repeats,
            decoding,
            disguises,
            searched,
            triggers,
            watching,
        ):
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


def test_streams_release_the_same_in_c_and_never_later(built: Core, use: Use) -> None:
    random, num_found, num_watched = Random(5), 0, 0
    for known, allow, texts in policies(5, 120):
        guards = []
        for core in (built, None):
            use(core)
            guards.append(OutputGuard(ruleset(known, allow), VALIDATORS))
        assert guards[0].matcher.watcher is not None
        assert guards[1].matcher.watcher is None
        for whole in [*texts, *(_unusual(random, one) for one in texts)]:
            found: tuple[list[Find], list[Find]] = ([], [])
            ours, theirs = (guard.stream(_note(list_)) for guard, list_ in zip(guards, found, strict=True))
            sent = ["", ""]
            for piece in [*random.choice((cut(random, whole), list(whole))), None]:
                if random.random() < 0.05:  # what goes on by itself is the same, and changes nothing
                    ours, theirs = _forked(ours, found[0], piece), _forked(theirs, found[1], piece)
                for place, stream in enumerate((ours, theirs)):
                    if not stream.is_over:
                        pieces = stream.flush() if piece is None else stream.feed(piece)
                        sent[place] += "".join(one.text for one in pieces)
                assert sent[0].startswith(sent[1]), (whole, piece)
                if not ours.is_over:
                    assert ours.num_seen == theirs.num_seen
                    assert ours.held_chars <= theirs.held_chars, (whole, piece)
                num_watched += ours._is_watched
            assert sent[0] == sent[1], whole
            assert sorted(found[0]) == sorted(found[1]), whole
            assert ours.found == theirs.found
            num_found += len(found[0])
    assert num_found > 1_000
    assert num_watched > 1_000


def test_no_match_of_the_packaged_rules_is_let_through_where_streams_are_watched(built: Core, use: Use) -> None:
    random, num_found = Random(8), 0
    known = {rule.id: rule for rule in (*_ALL.input, *_ALL.output) if rule.regexes}
    rules = RuleSet(output=tuple(map(_for_streams, known.values())))
    guards = []
    for core in (built, None):
        use(core)
        guards.append(OutputGuard(rules, VALIDATORS))
    patterns = guards[0].matcher.regexes.patterns
    for _ in range(500):
        sample = "".join(_matching(random, random.choice(patterns).nodes))
        before, behind = (
            random.choice(("", "so ", "给", "x", "1", "-")),
            random.choice(("", " on", "，", "x", "1", ".")),
        )
        whole = f"{before}{sample}{behind}"
        found: list[Find] = []
        stream = guards[0].stream(_note(found))
        pieces = [one for piece in cut(random, whole) for one in stream.feed(piece)] + stream.flush()
        expected = guards[1].whole(whole)
        assert "".join(piece.text for piece in pieces) == expected.text, whole
        assert sorted(found) == sorted(expected.finds), whole
        num_found += len(found)
    assert num_found > 250


def _for_streams(rule: Rule) -> Rule:
    """Without a validator, so that what is made at random is found, and with a cap."""
    return replace(rule, validator=None, cap=rule.cap or 400, action=Action.REDACT)


def _matching(random: Random, nodes: Iterable[Any]) -> Iterator[str]:
    """Yield a text that a syntax tree matches, or nearly: capitals and small letters change, classes are ASCII's."""
    for op, content in nodes:
        name = str(op)
        if name == "BRANCH":
            yield from _matching(random, random.choice(content[1]))
        elif name == "SUBPATTERN":
            yield from _matching(random, content[3])
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = content
            for _ in range(random.randint(low, min(high, low + random.choice((1, 3, 9))))):
                yield from _matching(random, body)
        elif name != "AT":
            one = single(op, content, 0)
            first, last = random.choice(one)
            code = random.randint(first, min(last, first + 90))
            yield random.choice((chr(code), chr(code).swapcase())) if not 0xD800 <= code < 0xE000 else "x"


@pytest.mark.parametrize("letters", [r"[^\W_]", r"[^\Wab]", r"[^\s\W]", r"[^\D]|[^\W\d]"])
def test_a_class_that_denies_signs_has_all_letters(built: Core, use: Use, letters: str) -> None:
    use(built)
    guard = OutputGuard(RuleSet(output=(Rule("name", Action.REDACT, regexes=(f"x(?:{letters}){{3}}y",)),)))
    for name in ("xkksy", "xSKSy", "xrtzy"):  # k and s have a third form beyond ASCII, which is no letter to \w
        stream = guard.stream()
        pieces = [*stream.feed(f"a {name[:3]}"), *stream.feed(f"{name[3:]} b"), *stream.flush()]
        assert "".join(piece.text for piece in pieces) == "a [redacted] b"


def test_views_in_c_are_those_of_python(built: Core) -> None:
    random, table = Random(9), fold_table()
    becomes = fold_module._table().by_codepoint
    everything = [chr(code) for code in range(0x110000)]
    native = FoldTable(built, becomes)
    assert table is None or table.plain("ﬁ") == "fi"
    for one in everything:
        assert native.plain(one) == one.translate(becomes)
        assert built.module.small(f"a{one}b") == ((small := f"a{one}b".lower()), wide(small)), hex(ord(one))
    for _ in range(5_000):
        some = "".join(random.choices(everything, k=random.randint(0, 5)) + random.choices("aZ 敏，ＡΣﬁ\u200b", k=9))
        assert native.plain(some) == some.translate(becomes)
        assert built.module.small(some) == (some.lower(), wide(some.lower()))
        assert built.module.wide(some) == wide(some)


def _note(finds: list[Find]) -> Callable[[Find, str], None]:
    return lambda find, _: finds.append(find)


def _forked(stream: StreamGuard, finds: list[Find], piece: str | None) -> StreamGuard:
    other = stream.fork(lambda find, _: None)
    other.feed(f"x{piece or ''}")
    other.flush()
    return stream.fork(_note(finds))


def _unusual(random: Random, whole: str) -> str:
    """Put characters in between that become none or several, are beyond the first plane, or have odd small letters."""
    letters = list(whole)
    for _ in range(random.randint(1, 4)):
        odd = random.choice(
            ("\u200b", "\ufb01", "\U0001f600", "a\u0301", "\u03a3", "\u0130", "\u00c4", "\U00020000", "\u212a", "ｓ")
        )
        letters.insert(random.randint(0, len(letters)), odd)
    return "".join(letters)


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
        words = list(encoded_words(built, wide(f"= {word}!"), 6, 99))
        assert list(encoded_words(built, wide(f"= {word}!"), 6, len(word) - 1)) == []
        for span in decoding._words(f"= {word}!", 99):
            is_text = decoding._said(f"= {word}!"[slice(*span)].encode()) is not None
            assert span in words or not is_text, word
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
