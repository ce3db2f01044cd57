"""`weir bench engine`: loads that a seed fixes, figures that add up, choices that give their reason."""

import asyncio
import math
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.errors import CheckFailedError, JobError
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.benching.choice import Option, choice_table, choose, scores
from weir_training.benching.contestants import Label, Sample, Speed, Weights
from weir_training.benching.measure import PREFILL, Plan, Seen, measure, middle
from weir_training.benching.peers.entry import Missing
from weir_training.benching.plot import draw
from weir_training.benching.prompts import Prompt, TaskPrompts, WordPrompts
from weir_training.benching.roofline import Roofline
from weir_training.benching.tables import as_dict, share, table
from weir_training.benching.trace import Answer, Goal, Lengths, crowd, mean_tokens, mixed_trace, quantile, score
from weir_training.benching.word_tokenizer import FIRST_WORD_ID, save_word_tokenizer
from weir_training.benching.workers.divergence import Divergence, log_softmax
from weir_training.benching.workers.pace import Answer as Paced
from weir_training.benching.workers.pace import at_their_times
from weir_training.benching.workers.window import Window
from weir_training.progress import silent

VOCABULARY = 2_000
LENGTHS = Lengths(system=40, question_most=100, answer_most=50)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> ReleaseTokenizer:
    folder = tmp_path_factory.mktemp("words")
    save_word_tokenizer(folder, VOCABULARY)
    return ReleaseTokenizer(folder / "tokenizer.json")


@settings(deadline=None)
@given(ids=st.lists(st.integers(FIRST_WORD_ID, VOCABULARY - 1), min_size=1, max_size=40))
def test_a_prompt_of_words_is_the_same_as_text_and_as_ids(words: ReleaseTokenizer, ids: list[int]) -> None:
    assert words.vocab_size == VOCABULARY
    assert words.encode(words.decode(ids)) == ids


def test_a_prompt_has_the_asked_length_beyond_the_text_it_begins_with(words: ReleaseTokenizer) -> None:
    maker = WordPrompts(words)
    system = maker.make(1, 30)
    prompt = maker.make(2, 12, after=system.text)

    assert len(system.ids) == 30
    assert prompt.ids[:30] == system.ids
    assert len(prompt.ids) == 42
    assert maker.make(2, 12, after=system.text) == prompt
    assert maker.make(3, 12, after=system.text) != prompt


def test_prompts_of_a_release_are_what_it_is_asked(words: ReleaseTokenizer) -> None:
    golden = [words.decode([300, 301, 302]), words.decode([400])]
    prompt = TaskPrompts(words, golden).make(0, 20)

    assert prompt.ids == tuple(words.encode(prompt.text))
    assert set(prompt.ids) == {300, 301, 302, 400}
    assert len(prompt.ids) == 20


def test_the_seed_fixes_a_trace_and_another_seed_gives_another(words: ReleaseTokenizer) -> None:
    maker = WordPrompts(words)
    one = mixed_trace(maker, LENGTHS, rate=2.0, count=30, seed=7)

    assert one == mixed_trace(maker, LENGTHS, rate=2.0, count=30, seed=7)
    assert one != mixed_trace(maker, LENGTHS, rate=2.0, count=30, seed=8)


def test_a_trace_arrives_at_its_rate_with_a_shared_beginning_and_bounded_lengths(words: ReleaseTokenizer) -> None:
    requests = mixed_trace(WordPrompts(words), LENGTHS, rate=4.0, count=400, seed=0)

    arrivals = [request.arrival_s for request in requests]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] / 400 == pytest.approx(1 / 4.0, rel=0.2)
    assert len({request.prompt.ids[:40] for request in requests}) == 1
    assert len({request.prompt.ids for request in requests}) == 400
    assert all(8 <= len(r.prompt.ids) - 40 <= 100 and 8 <= r.new_tokens <= 50 for r in requests)
    prompt, answer = mean_tokens(requests)
    assert 40 + 8 < prompt < 140
    assert 8 < answer < 50


@pytest.mark.parametrize("context", [64, 512, 1024, 4096])
def test_no_request_of_a_trace_outgrows_the_context(words: ReleaseTokenizer, context: int) -> None:
    requests = mixed_trace(WordPrompts(words), Lengths.within(context), rate=1.0, count=100, seed=3)

    assert max(len(request.prompt.ids) + request.new_tokens for request in requests) <= context


def test_goodput_counts_only_the_tokens_of_answers_that_kept_both_promises(words: ReleaseTokenizer) -> None:
    requests = crowd(WordPrompts(words), count=4, prompt_tokens=4, new_tokens=11)
    answers = [
        Answer(0.5, 1.5, 11, ended_s=4.0),  # 0.1 s a token: kept
        Answer(0.5, 2.5, 11, ended_s=5.0),  # 0.2 s a token: too slow
        Answer(1.5, 2.0, 11, ended_s=6.0),  # first token too late
        Answer(1.0, 2.0, 11, ended_s=10.0),  # on the border: kept
    ]
    found = score(requests, [answers], Goal(first_s=1.0, per_token_s=0.1))

    assert found.tokens_per_s == pytest.approx(44 / 10)
    assert found.goodput == pytest.approx(22 / 10)
    assert found.met == 0.5
    assert (found.first_p50, found.first_p99) == (0.5, 1.5)
    assert found.answers == 4


def test_an_answer_that_is_missing_cannot_be_scored_away(words: ReleaseTokenizer) -> None:
    requests = crowd(WordPrompts(words), count=2, prompt_tokens=4, new_tokens=4)

    with pytest.raises(ValueError, match="one answer to each request"):
        score(requests, [[Answer(0.1, 0.2, 4, 0.2)]], Goal(1.0, 1.0))
    with pytest.raises(ValueError, match="one answer to each request"):
        score(requests, [], Goal(1.0, 1.0))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_the_least_value_that_enough_do_not_exceed(values: list[float], part: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, part)
    needed = math.ceil(part * len(values))

    assert sum(value <= found for value in values) >= needed
    assert all(sum(v <= value for v in values) < needed for value in values if value < found)


def test_a_window_counts_only_while_all_users_decode() -> None:
    window = Window(users=2, steps=3)
    window.add(0, 1, 0.0)
    window.close_step(0.0)
    window.add(0, 1, 1.0)  # the other one is still being read
    window.add(1, 1, 1.0)
    window.close_step(1.0)
    window.add(0, 1, 2.0)
    window.add(1, 9, 2.0)  # what was made since its first token, however late it is read
    window.close_step(2.0)
    for now in (3.0, 4.0, 5.0):
        window.add(0, 1, now)
        window.add(1, 1, now)
        window.close_step(now)
    window.add(0, 1, 6.0)

    assert window.is_over
    assert window.figures() == {"tokens": 6, "seconds": 3.0}


def test_a_window_that_never_opened_has_no_figures() -> None:
    window = Window(users=2, steps=3)
    window.add(0, 5, 1.0)
    window.close_step(1.0)

    with pytest.raises(RuntimeError, match="not all answers decoded at once"):
        window.figures()


async def test_a_late_request_counts_from_its_arrival_and_a_crowd_from_when_it_was_let_go() -> None:
    busy, most = 0, 0

    async def ask(_: dict[str, float]) -> Paced:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        began = time.perf_counter()
        await asyncio.sleep(0.02)
        busy -= 1
        return Paced(0.0, time.perf_counter() - began, 1)

    requests = [{"arrival_s": 0.0}] * 6
    answers = await at_their_times(requests, ask, at_once=2)
    assert most == 2
    assert [answer.first_s for answer in answers] == [0.0] * 6
    assert max(answer.ended_s for answer in answers) >= 3 * 0.02

    answers = await at_their_times([{"arrival_s": 0.0}, {"arrival_s": 0.05}], ask, at_once=None)
    assert answers[1].ended_s >= 0.05 + 0.02


class Fixed:
    """A contestant that is always equally fast; reading counts as 10 times its speed."""

    def __init__(self, name: str, speed: float, *, fails: str | None = None) -> None:
        self.label = Label(name, "weir", "int8", 100, Weights(100, 60, 40), 0.5)
        self.rss_bytes = 7_000_000
        self.turns: list[int] = []
        self.is_open = False
        self._speed = speed
        self._fails = fails

    def open(self) -> None:
        if self._fails == "open":
            raise JobError("no such library")
        self.is_open = True

    def prefill(self, prompt: Prompt) -> Speed:
        self.turns.append(PREFILL)
        return Speed(len(prompt.ids), len(prompt.ids) / (10 * self._speed))

    def decode(self, prompts: list[Prompt], steps: int) -> Speed:
        self.turns.append(len(prompts))
        if self._fails == "decode":
            raise JobError("out of memory")
        return Speed(steps, steps / self._speed)

    def divergence(self, sample: Sample) -> float | None:
        return 0.25

    def close(self) -> None:
        self.is_open = False


PLAN = Plan(users=(1, 4), rounds=2, steps=8)
ROOFLINE = Roofline(read_bytes_per_s=1000.0, int8_per_s=1e9, fp32_per_s=1e8)


def test_everyone_takes_a_turn_in_every_round_and_the_first_is_not_counted(words: ReleaseTokenizer) -> None:
    one, other, rounds = Fixed("one", 5.0), Fixed("other", 7.0), []
    seen, missing = measure([one, other], WordPrompts(words), PLAN, silent, lambda: rounds.append(1))

    assert one.turns == other.turns == [PREFILL, 1, 4] * 3
    assert [(s.label.name, s.speeds) for s in seen] == [
        ("one", {PREFILL: [50.0] * 2, 1: [5.0] * 2, 4: [5.0] * 2}),
        ("other", {PREFILL: [70.0] * 2, 1: [7.0] * 2, 4: [7.0] * 2}),
    ]
    assert missing == []
    assert len(rounds) == 2
    assert not one.is_open
    assert not other.is_open


def test_with_a_sample_everyones_divergence_is_measured_and_without_one_none_is(
    words: ReleaseTokenizer, tmp_path: Path
) -> None:
    for sample, kl in ((None, 0.5), (Sample(((1, 2),), tmp_path), 0.25)):
        seen, _ = measure([Fixed("one", 5.0)], WordPrompts(words), PLAN, silent, lambda: None, sample)
        assert seen[0].label.kl == kl


def test_divergence_is_the_mean_over_positions_and_zero_from_itself(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    texts = [dice.standard_normal((3, 7)), dice.standard_normal((5, 7))]
    path = tmp_path / "reference.npz"
    np.savez(path, **{f"{n:05}": log_softmax(text) for n, text in enumerate(texts)})
    same, other = Divergence(str(path)), Divergence(str(path))
    for number, text in enumerate(texts):
        same.add(number, text + 3.0)  # logits are known up to a constant
        other.add(number, np.zeros_like(text))
    expected = [np.log(7) + (np.exp(log_softmax(row)) * log_softmax(row)).sum() for t in texts for row in t[:-1]]

    assert same.figures() == {"kl": pytest.approx(0.0, abs=1e-12), "positions": 6}
    assert other.figures()["kl"] == pytest.approx(np.mean(expected))


def test_who_cannot_be_had_or_fails_is_told_and_the_others_are_measured(words: ReleaseTokenizer) -> None:
    contestants = [
        Missing("llama-cpp Q8_0", "cmake not found"),
        Fixed("closed", 1.0, fails="open"),
        Fixed("weak", 1.0, fails="decode"),
        Fixed("well", 3.0),
    ]
    seen, missing = measure(contestants, WordPrompts(words), PLAN, silent, lambda: None)
    text = table(seen, missing, PLAN, ROOFLINE)

    assert [(one.name, one.reason) for one in missing] == [
        ("llama-cpp Q8_0", "cmake not found"),
        ("closed", "no such library"),
    ]
    assert "llama-cpp Q8_0: unavailable: cmake not found" in text
    assert "failed: out of memory" in text
    assert as_dict(seen, missing, PLAN, ROOFLINE)["unavailable"][1] == {"name": "closed", "reason": "no such library"}
    assert seen[1].speeds[4] == [3.0, 3.0]


def test_a_figure_is_the_median_with_half_the_range_as_its_spread() -> None:
    assert middle([8.0, 10.0, 13.0]) == (found := middle([13.0, 8.0, 10.0]))
    assert (found.median, found.spread) == (10.0, 0.25)
    with pytest.raises(ValueError, match="nothing"):
        middle([])


def test_the_roofline_is_the_slower_of_reading_and_computing() -> None:
    weights = Weights(all=100, body=60, head=40)

    assert ROOFLINE.decode(1, weights, 100) == pytest.approx(10.0)  # 1000 B/s over 100 B
    assert ROOFLINE.decode(8, weights, 100) == pytest.approx(80.0)
    slow = Roofline(1e9, 1000.0, 1000.0)
    assert slow.decode(8, weights, 100) == pytest.approx(5.0)  # 200 operations a token
    assert slow.prefill(40, weights, 100) == pytest.approx(1000 * 40 / (2 * (60 * 40 + 40)))
    assert ROOFLINE.best_of(slow) == Roofline(1e9, 1e9, 1e8)

    seen = Seen(Label("x", "weir", "int8", 100, weights), {1: [5.0]})
    assert share(seen, 1, ROOFLINE) == pytest.approx(0.5)


def test_bytes_per_weight_and_kl_stand_beside_every_figure() -> None:
    seen = Seen(Label("weir cpu-x (model)", "weir", "x", 150, Weights(100, 60, 40), 0.002), {PREFILL: [50.0], 1: [5.0]})
    line = table([seen], [], Plan((1,), 1, 8), ROOFLINE).splitlines()[1]

    assert line.split() == ["weir", "cpu-x", "(model)", "1.50", "0", "2.0e-03", "50", "±0%", "5", "±0%"]
    assert as_dict([seen], [], PLAN, ROOFLINE)["contestants"][0]["bytes_per_weight"] == 1.5


def test_the_picture_is_a_png_with_a_row_for_everyone(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    label = Label("weir", "weir", "x", 150, Weights(100, 60, 40))
    heights = []
    for count in (1, 3):
        assert draw([Seen(label, {PREFILL: [50.0], 4: [5.0, 6.0]})] * count, "shape", tmp_path / "x.png")
        with image.open(tmp_path / "x.png") as picture:
            assert picture.format == "PNG"
            heights.append(picture.height)

    assert heights[1] > heights[0]


def option(flavour: str, speed: float, kl: float, *, passed: bool = True) -> Option:
    return Option(flavour, {PREFILL: 10 * speed, 1: speed, 8: speed}, kl, passed)


def test_the_fastest_that_passed_is_served() -> None:
    options = [option("cpu-a", 10, 1e-4), option("cpu-b", 20, 1e-2), option("cpu-c", 40, 1.0, passed=False)]
    choice = choose(options)

    assert choice.flavour == "cpu-b"
    assert "mean KL 1.0e-02" in choice.reason
    assert scores(options[:2]) == pytest.approx({"cpu-a": 0.5, "cpu-b": 1.0})
    assert "cpu-b" in choice_table(options, choice).splitlines()[-1]


def test_among_equally_fast_flavours_the_closest_to_the_checkpoint_is_served() -> None:
    choice = choose([option("cpu-a", 9.8, 1e-4), option("cpu-b", 10.0, 1e-2)])

    assert choice.flavour == "cpu-a"
    assert "cpu-b within 5%" in choice.reason


def test_a_flavour_that_is_fast_at_one_load_only_does_not_win() -> None:
    lopsided = Option("cpu-a", {1: 100.0, 8: 10.0}, 1e-4, passed=True)
    even = Option("cpu-b", {1: 60.0, 8: 60.0}, 1e-4, passed=True)

    assert choose([lopsided, even]).flavour == "cpu-b"


def test_nothing_is_chosen_when_nothing_passed() -> None:
    with pytest.raises(CheckFailedError, match="no flavour that passed"):
        choose([option("cpu-a", 1, 1.0, passed=False)])


def test_speeds_of_random_loads_never_leave_the_scale() -> None:
    dice = Random(0)
    options = [option(f"cpu-{n}", dice.uniform(1, 100), dice.random()) for n in range(10)]

    assert max(scores(options).values()) == pytest.approx(1.0)
    assert all(0 < value <= 1 for value in scores(options).values())
