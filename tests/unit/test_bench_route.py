"""The routing simulator: its machines, its load, and what it says of the policies."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

import pytest

from weir.cli import run
from weir_training.benching.route.load import Call, Shape, calls
from weir_training.benching.route.machine import Machine, Speed, Work
from weir_training.benching.route.replay import Replay, Seen
from weir_training.benching.route.report import Figures, figures
from weir_training.benching.route.scenes import POLICIES, Scale, policy, scene

SPEED = Speed(slots=2, read_per_s=1000.0, base_s=0.1, step_s=0.01, crowd=0.5)


@cache
def simulated(
    name: str, who: str, *, nodes: int = 6, load: float = 0.7, seconds: float = 40, seeds: int = 3
) -> Figures:
    made = scene(name, Scale(nodes, load, None, seconds))
    runs = [_run(name, who, seed, nodes=nodes, load=load, seconds=seconds) for seed in range(1, seeds + 1)]
    return figures(made.name, who, runs, seconds, 0.0)


def _run(name: str, who: str, seed: int, *, nodes: int = 6, load: float = 0.7, seconds: float = 40) -> Seen:
    made = scene(name, Scale(nodes, load, None, seconds))
    replay = Replay([model.speed for model in made.models], policy(who, made.models, seed), made.troubles)
    return replay.run(calls(made.shape, rate=made.rate, seconds=seconds, seed=seed))


def test_weir_beats_least_loaded_by_a_fifth_at_the_first_token_over_gpus_and_cpus() -> None:
    weir, other = simulated("mixed", "weir"), simulated("mixed", "least-loaded")
    assert weir.first_p99 <= 0.8 * other.first_p99
    assert all(own <= 0.8 * its for own, its in zip(weir.first_p99_of_seeds, other.first_p99_of_seeds, strict=True))


@pytest.mark.parametrize(("name", "nodes", "load", "seeds"), [("uniform", 6, 0.7, 4), ("gpus", 4, 0.7, 6)])
def test_weir_is_not_worse_where_all_nodes_are_alike(name: str, nodes: int, load: float, seeds: int) -> None:
    given = {"nodes": nodes, "load": load, "seeds": seeds}
    assert simulated(name, "weir", **given).first_p99 <= 1.02 * simulated(name, "least-loaded", **given).first_p99


def test_nothing_that_had_not_begun_is_lost_when_a_node_dies_and_it_gets_work_again_afterwards() -> None:
    seen = _run("failing", "weir", 1)
    assert seen.refused == 0
    assert 0 < seen.lost <= 64  # at most what it was writing
    assert seen.per_node[0] > 0.6 * _run("mixed", "weir", 1).per_node[0]


def test_a_node_that_becomes_slow_gets_less() -> None:
    *others, slow = _run("failing", "weir", 3, load=0.5).per_node[2:]
    assert slow < 0.6 * mean(others)


@pytest.mark.parametrize("who", POLICIES)
def test_one_seed_gives_the_same_figures_each_time_and_another_one_others(who: str) -> None:
    first, again, other = (_run("failing", who, seed, seconds=8) for seed in (1, 1, 2))
    assert (first.firsts, first.totals, first.per_node) == (again.firsts, again.totals, again.per_node)
    assert first.firsts != other.firsts


def call(prompt: int = 100, answer: int = 11, family: int = 1, at_s: float = 0.0) -> Call:
    return Call(at_s, prompt, answer, 64, family, 50)


def played(machine: Machine, *works: Work) -> dict[int, tuple[float, float]]:
    """Give all to the machine at once; return when each began and ended."""
    for work in works:
        machine.take(work, 0.0)
    began: dict[int, float] = {}
    ended: dict[int, float] = {}
    while machine.present:
        now = machine.next_s
        first, done = machine.advance(now)
        if first is not None:
            began[first.number] = now
        ended |= {work.number: now for work in done}
    return {number: (began[number], ended[number]) for number in ended}


def test_a_lone_request_takes_its_reading_and_a_step_for_each_further_token() -> None:
    times = played(Machine(SPEED), Work(0, call(answer=11)))
    assert times[0] == pytest.approx((0.1 + 0.1, 0.2 + 10 * 0.01))


def test_answers_beside_each_other_slow_each_other_down_and_reading_slows_them_more() -> None:
    times = played(Machine(SPEED), Work(0, call(answer=101, family=1)), Work(1, call(answer=101, family=2)))
    written = 0.2 / 0.01 * 0.55  # by the first, while the second was read
    both = (100 - written) * 0.015
    assert times[1][0] == pytest.approx(0.4)
    assert times[0][1] == pytest.approx(0.4 + both)
    assert times[1][1] == pytest.approx(0.4 + both + written * 0.01)


def test_a_machine_without_a_free_slot_reads_nothing() -> None:
    times = played(Machine(SPEED), *(Work(number, call(answer=101, family=number)) for number in range(3)))
    assert times[2][0] == pytest.approx(times[0][1] + 0.2)


def test_a_beginning_that_was_read_before_is_not_read_again() -> None:
    times = played(Machine(SPEED), Work(0, call(answer=1)), Work(1, call(answer=1)))
    assert times[1][0] - times[0][0] == pytest.approx(0.1 + 0.05)


def test_a_machine_that_dies_gives_back_all_that_it_had() -> None:
    machine = Machine(SPEED)
    works = [Work(number, call(answer=101, family=number)) for number in range(4)]
    for work in works:
        machine.take(work, 0.0)
    machine.advance(machine.next_s)

    assert sorted(work.number for work in machine.die(0.3)) == [0, 1, 2, 3]
    assert machine.present == []


def test_the_load_has_the_rate_that_was_asked_for_bursts_and_long_tails() -> None:
    made = list(calls(Shape(), rate=100.0, seconds=300, seed=5))

    assert len(made) / 300 == pytest.approx(100, rel=0.15)
    assert all(one.at_s <= other.at_s for one, other in pairwise(made))
    per_second = [0] * 300
    for one in made:
        per_second[int(one.at_s)] += 1
    assert max(per_second) > 2 * mean(per_second)
    answers = [one.answer_tokens for one in made]
    assert mean(answers) > 1.3 * median(answers)
    assert all(one.answer_tokens <= one.most_tokens for one in made)
    assert len({one.family for one in made}) == 64


def test_the_verb_prints_figures_and_writes_them_with_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["bench", "route", "--nodes", "3", "--seconds", "4", "--seeds", "1", "--out", str(tmp_path)]
    assert run([*common, "--scene", "mixed", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [one["policy"] for one in body["figures"]] == list(POLICIES)
    assert json.loads((tmp_path / "route.json").read_text(encoding="utf-8")) == body
    assert (tmp_path / "route.png").read_bytes().startswith(b"\x89PNG")

    assert run([*common, "--scene", "uniform", "--policy", "weir"]) == 0
    assert "uniform" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scene", "space"], "--scene space: expected one of mixed"),
        (["--policy", "luck"], "--policy luck: expected one of round-robin"),
        (["--rate", "100000", "--seconds", "3600"], "choose fewer --seconds"),
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "route", *arguments]) == 2
    assert said in capsys.readouterr().err
