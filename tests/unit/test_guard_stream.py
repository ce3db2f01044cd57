"""The output guard is exact: however the answer is cut, the same text leaves, and no find ever does."""

from collections.abc import Sequence
from random import Random

import pytest
from tests.support.guard_cases import VALIDATORS, cut, policy, ruleset, text
from tests.support.guard_reference import Known, Whole, whole

from weir.guard import regexes
from weir.guard.output import OutputGuard

CASES = 13_000  # per seed
CUTS = 5


def check(guard: OutputGuard, pieces: Sequence[str], expected: Whole) -> set[int]:
    """Stream one text and compare it with the whole one. Returns the original positions that left."""
    stream, sent, position = guard.stream(), "", 0
    left: set[int] = set()
    for piece in [*pieces, None]:
        for decided in stream.flush() if piece is None else stream.feed(piece):
            if decided.is_verbatim:
                left |= set(range(position, position + decided.length))
            position += decided.length
            sent += decided.text
        assert stream.held_chars <= 512
        assert expected.text.startswith(sent)
        if stream.is_over:
            break
    assert sent == expected.text
    assert (stream.blocked_by or stream.fallback_by) == expected.ended_by
    assert not left & expected.hidden
    if expected.ended_by is None:
        assert stream.found == expected.found
    return left


def run(seed: int, cases: int) -> int:
    """Check that many (text, cut, policy) cases; return how many of them had a find."""
    random, done, num_found = Random(seed), 0, 0
    while done < cases:
        known, allow = policy(random)
        guard = OutputGuard(ruleset(known, allow), VALIDATORS)
        fewer = [one for one in known if random.random() < 0.7]
        for _ in range(15):
            case = text(random, known)
            expected = whole(case, known, allow)
            num_found += CUTS * bool(expected.found)
            for _ in range(CUTS):
                pieces = cut(random, case)
                try:
                    left = check(guard, pieces, expected)
                except Exception as error:
                    raise AssertionError(f"seed {seed}: {pieces!r} {allow!r} {[k.rule for k in known]!r}") from error
                done += 1
            assert left <= left_of(case, fewer, allow), "a rule more never shows more"
    return num_found


def left_of(case: str, known: Sequence[Known], allow: Sequence[str]) -> set[int]:
    return set(range(len(case))) - whole(case, known, allow).hidden


@pytest.fixture
def _is_few(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Every other seed has all matches of regexes found in C, as if there were many."""
    if seed % 2:
        monkeypatch.setattr(regexes, "FEW", 0)


@pytest.mark.usefixtures("_is_few")
@pytest.mark.parametrize("seed", range(8))
def test_the_cut_makes_no_difference_and_nothing_is_released_too_early(seed: int) -> None:
    assert run(seed, CASES) > CASES // 3


@pytest.mark.soak
@pytest.mark.usefixtures("_is_few")
@pytest.mark.parametrize("seed", range(1000, 1050))
def test_nor_in_many_more_cases(seed: int) -> None:
    assert run(seed, 10 * CASES) > 0
