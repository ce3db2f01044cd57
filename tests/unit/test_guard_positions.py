"""What the positions of regexes say may match: all that RE2 finds, and of random characters next to nothing else."""

import re
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from tests.support.guard_regexes import any_regex, matching, packaged_patterns
from tests.support.never_seen import NEVER_SEEN, text_of

from weir.guard import beginnings as beginnings_module
from weir.guard import candidates, positions, triggers
from weir.guard.beginnings import beginnings
from weir.guard.candidates import Candidates
from weir.guard.native.build import build
from weir.guard.native.library import Core
from weir.guard.patterns import Pattern, compiled, read_regex
from weir.guard.positions import positions_of
from weir.guard.searched import Encoded

_LETTERS = "aabkKsS1 -_\n"
_KINDS = (_LETTERS + "\u00e9", _LETTERS + "词ſK", _LETTERS + "词😀")  # of one, two and four bytes a character
_BY_ITSELF = 1 << 14  # characters; of more nothing is remembered


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Core:
    """The library as this checkout's sources make it; whether one was installed makes no difference."""
    return Core(build(tmp_path_factory.mktemp("native")))


def _said(core: Core, patterns: Sequence[Pattern], text: str) -> set[int]:
    return {places[number] for places, one in positions_of(core, tuple(patterns)) for number in one.which(text)}


def _found(patterns: Sequence[Pattern], text: str) -> set[int]:
    raw = text.encode()
    return {number for number, one in enumerate(patterns) if compiled(one.search).search(raw) is not None}


def _some(random: Random, count: int) -> list[Pattern]:
    patterns: list[Pattern] = []
    while len(patterns) < count:
        try:
            patterns += read_regex(any_regex(random), keeps_case=random.random() < 0.4, is_streamed=False)
        except ValueError:
            continue
    return patterns


def test_whatever_re2_finds_is_said_to_be_possible(built: Core) -> None:
    random, num_found, num_said = Random(31), 0, 0
    for _ in range(250):
        patterns = _some(random, random.choice((1, 3, 20)))
        for _ in range(6):
            text = "".join(random.choices(random.choice(_KINDS), k=random.choice((1, 3, 9, 40))))
            found, said = _found(patterns, text), _said(built, patterns, text)
            assert found <= said, (text, [patterns[number].search for number in found - said])
            num_found, num_said = num_found + len(found), num_said + len(said)
    assert num_found > 4_000
    assert num_said < 1.1 * num_found


def test_long_texts_are_read_as_short_ones_are(built: Core) -> None:
    random = Random(32)
    for _ in range(12):
        patterns, kind = _some(random, 30), random.choice(_KINDS)
        parts = ["".join(random.choices(kind, k=_BY_ITSELF // 2)) for _ in range(3)]
        assert _found(patterns, "".join(parts)) <= _said(built, patterns, "".join(parts))
        alone = [pattern for pattern in patterns if not _is_placed(pattern)]
        of_parts = set[int]().union(*(_said(built, alone, part) for part in parts))
        assert of_parts <= _said(built, alone, "".join(parts))


def _is_placed(pattern: Pattern) -> bool:
    """Whether what stands around a match counts."""
    return re.search(r"\\[bBAz]|[$^]", pattern.search) is not None


@pytest.mark.parametrize("is_streamed", [False, True])
def test_no_find_of_a_packaged_rule_is_missed(built: Core, is_streamed: bool) -> None:
    random, patterns, num_found = Random(33), packaged_patterns(is_streamed=is_streamed), 0
    parts = positions_of(built, tuple(patterns))
    assert sum(len(places) for places, _ in parts) > 0.97 * len(patterns)
    for number, pattern in enumerate(patterns):
        for _ in range(5):
            text = "".join(_around(random, matching(random, pattern.nodes, pattern.flags)))
            found = _found(patterns[number : number + 1], text)
            said = {places[one] for places, part in parts for one in part.which(text)}
            if any(number in places for places, _ in parts):
                assert not found or number in said, (pattern.search, text)
                num_found += len(found)
    assert num_found > 1.2 * len(patterns)


def _around(random: Random, match: Iterable[str]) -> Iterable[str]:
    return (random.choice(("", " ", "，x ", "x", "é ")), *match, random.choice(("", " ", "。", "x", "\n")))


@pytest.mark.parametrize("kind", NEVER_SEEN)
def test_random_characters_give_reason_to_search_for_what_is_there(built: Core, kind: str) -> None:
    random, patterns = Random(34), [one for one in packaged_patterns(is_streamed=True) if not one.literals]
    for size in (300, 9_000, 40_000):
        text = text_of(NEVER_SEEN[kind], random, size)
        found, said = _found(patterns, text), _said(built, patterns, text)
        assert found <= said
        assert len(said - found) <= 1


def test_what_was_met_is_forgotten_and_met_again(built: Core) -> None:
    random, patterns = Random(35), [one for one in packaged_patterns(is_streamed=True) if not one.literals]
    printable = "".join(map(chr, range(32, 127)))
    for number in range(400):  # each makes a few hundred states, of the 4,096 for which there is room
        text = "".join(random.choices(printable, k=600))
        said = _said(built, patterns, text)
        assert number % 20 or _found(patterns, text) <= said


def test_what_is_too_large_is_left_to_re2(built: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "core", lambda: built)
    large = "(?:[ab]{2}[cd]?){100}(?:[ab]?[cd]?){400}x"
    patterns = [*read_regex(large, is_streamed=False), *read_regex("[0-9]{3}x", is_streamed=False)]
    monkeypatch.setattr(positions, "_MOST_POSITIONS", 16)
    positions_of.cache_clear()
    assert [list(places) for places, _ in positions_of(built, tuple(patterns))] == [[1]]

    both = Candidates(patterns)

    assert both.among(Encoded("ab" * 100 + "x")) == [0]
    assert both.among(Encoded("see 123x")) == [1]
    positions_of.cache_clear()


def test_a_trigger_that_is_too_large_is_looked_for_by_re2(built: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "core", lambda: built)
    monkeypatch.setattr(positions, "_MOST_POSITIONS", 8)
    positions_of.cache_clear()
    kinds = triggers.Triggers({"long": "[ab]{30}c"}).kinds

    assert "long" in kinds("ab" * 15 + "c", b"ab" * 15 + b"c")
    assert "hex" in kinds("0123456789", b"0123456789")
    assert kinds("no.", b"no.") == set()
    positions_of.cache_clear()


def _open_in_c_and_in_re2(patterns: Sequence[Pattern], core: Core, text: str, begin: int) -> tuple[int, int]:
    places = []
    for one in (core, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(beginnings_module, "core", lambda one=one: one)
            places.append(beginnings(patterns).open_from(Encoded(text), begin, closely=True))
    return places[0], places[1]


def test_what_may_become_a_find_is_never_let_go(built: Core) -> None:
    random, num_open, num_same = Random(36), 0, 0
    for _ in range(400):
        patterns: list[Pattern] = []
        while len(patterns) < random.choice((1, 1, 4)):
            try:
                patterns += read_regex(any_regex(random), keeps_case=random.random() < 0.4, cap=30)
            except ValueError:
                continue
        for _ in range(8):
            text = "".join(random.choices(random.choice(_KINDS), k=random.choice((1, 4, 12, 60))))
            begin = random.choice((0, 0, random.randint(0, len(text))))
            in_c, in_re2 = _open_in_c_and_in_re2(patterns, built, text, begin)
            assert begin <= in_c <= in_re2, ([one.search for one in patterns], text, begin)
            num_open, num_same = num_open + 1, num_same + (in_c == in_re2)
    assert num_same > 0.97 * num_open


def test_packaged_rules_hold_in_c_what_they_hold_in_re2(built: Core) -> None:
    random, patterns, num_open, num_same = Random(37), packaged_patterns(is_streamed=True), 0, 0
    for pattern in patterns:
        text = "".join((*"see ", *matching(random, pattern.nodes, pattern.flags)))
        text = text.replace("ı", "i")  # which may be one, as far as C knows
        part = text[: random.randint(4, max(4, len(text)))]
        in_c, in_re2 = _open_in_c_and_in_re2(patterns, built, part, 0)
        assert in_c <= in_re2, part
        num_open, num_same = num_open + (in_c < len(part)), num_same + (in_c == in_re2)
    assert num_open > 0.6 * len(patterns)
    assert num_same > 0.98 * len(patterns)
