"""What a regex needs is only ever a reason not to search for it: no match is missed."""

from random import Random

from tests.support.guard_regexes import matching, packaged_patterns

from weir.guard.candidates import Candidates
from weir.guard.fold import plain
from weir.guard.patterns import Pattern, PatternError, compiled, read_regex
from weir.guard.searched import Encoded

WORDS = (
    *("ignore", "the rules", "prompt", "忽略", "规则", "指令", "![", "](", "<|", "ab"),
    *("x", "-", " ", "é", ".", "http"),
)


def test_a_packaged_regex_is_searched_for_wherever_it_matches() -> None:
    random, tried = Random(5), 0
    patterns = packaged_patterns(is_streamed=False)
    candidates = Candidates(patterns)
    for number, pattern in enumerate(patterns):
        for _ in range(12):
            text = "".join(matching(random, pattern.nodes, pattern.flags))
            before, behind = random.choice(("", "x ", "前面", "\n")), random.choice(("", " y", "后面", "\n"))
            some = Encoded(plain(before + text + behind))  # as the guard sees it: without ſ and its like
            if compiled(pattern.search).search(some.raw):
                tried += 1
                assert number in candidates.among(some), pattern.search
    assert tried > 3 * len(patterns)


def test_any_regex_of_words_is_searched_for_wherever_it_matches() -> None:
    random, tried = Random(6), 0
    for _ in range(400):
        patterns = [some for _ in range(3) if (some := _pattern(random)) is not None]
        candidates = Candidates(patterns)
        for pattern in patterns * 4:
            text = "".join(matching(random, pattern.nodes, pattern.flags)) + random.choice(WORDS)
            some = Encoded(plain(text))
            if compiled(pattern.search).search(some.raw):
                tried += 1
                assert {n for n, one in enumerate(patterns) if one is pattern} <= set(candidates.among(some))
    assert tried > 2_000


def test_one_word_of_those_that_a_regex_needs_is_no_reason_to_search_for_it() -> None:
    (pattern,) = read_regex(r"(?:ignore|forget)\s(?:instructions|rules)", is_streamed=False)
    candidates = Candidates([pattern])

    assert candidates.among(Encoded("ignore it")) == []
    assert candidates.among(Encoded("the rules")) == []
    assert candidates.among(Encoded("Forget the RULES")) == [0]


def test_a_way_of_several_needs_only_its_own_words() -> None:
    (pattern,) = read_regex(r"\b(?:drop\sthe\stable|obey\sno\srule)\b", is_streamed=False)

    assert [set(way) for way in pattern.ways] == [
        {frozenset({"drop"}), frozenset({"the"}), frozenset({"table"})},
        {frozenset({"obey"}), frozenset({"rule"})},
    ]


def _pattern(random: Random) -> Pattern | None:
    try:
        return read_regex(_words(random), is_streamed=False)[0]
    except PatternError:  # it may match nothing
        return None


def _words(random: Random, depth: int = 0) -> str:
    kind = random.randrange(6 if depth < 3 else 2)
    if kind < 2:
        return "".join("\\" + one if one in "![](.|-" else one for one in random.choice(WORDS))
    if kind < 4:
        return "".join(_words(random, depth + 1) for _ in range(random.randint(2, 3)))
    if kind < 5:
        return "(?:" + "|".join(_words(random, depth + 1) for _ in range(random.randint(2, 3))) + ")"
    return f"(?:{_words(random, depth + 1)}){random.choice(('?', '{1,2}', '{0,3}', '{2}'))}"
