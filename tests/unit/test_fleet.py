"""Which node the policy takes."""

from random import Random

import pytest
from tests.support.fleet_scene import CPU, GPU, Scene

from weir.routing.policy.fleet import LOAD_BOUND, Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.member import KindKey
from weir.routing.policy.ticket import Ticket


def test_the_node_that_finishes_first_is_taken_and_what_it_has_to_do_counts() -> None:
    scene = Scene()
    scene.add("gpu", GPU, slots=2)
    scene.add("cpu", CPU, slots=2)
    scene.serve("gpu", first_s=0.02, step_s=0.01)
    scene.serve("cpu", first_s=0.1, step_s=0.04)

    taken = [scene.pick() for _ in range(6)]

    assert taken[:2] == ["gpu", "gpu"]
    assert "cpu" in taken  # the GPU queues longer than the CPU would take
    assert taken.count("gpu") > taken.count("cpu")


def test_the_cpu_answers_while_the_gpu_loads_and_the_gpu_when_it_is_there() -> None:
    scene = Scene()
    gpu = scene.add("gpu", GPU)
    scene.add("cpu", CPU)
    scene.serve("gpu", first_s=0.02, step_s=0.01)
    scene.serve("cpu", first_s=0.1, step_s=0.04)

    scene.fleet.up(gpu, is_up=False)
    assert scene.pick() == "cpu"
    scene.fleet.up(gpu, is_up=True)
    assert scene.pick() == "gpu"


def test_a_kind_that_nobody_knows_is_tried_before_it_is_called_slow() -> None:
    scene = Scene()
    scene.add("cpu", CPU, slots=2)
    scene.serve("cpu", first_s=0.02, step_s=0.001)
    scene.add("gpu", GPU)

    first = [scene.pick() for _ in range(4)]
    assert first.count("gpu") == 2  # not more at once, however long they take
    scene.tickets.clear()
    scene.serve("gpu", first_s=0.01, step_s=0.0005)
    assert scene.pick() == "gpu"


def test_a_kind_that_got_nothing_for_long_is_tried_again_with_one_request() -> None:
    scene = Scene()
    scene.add("fast", CPU)
    scene.add("slow", GPU)
    scene.serve("slow", first_s=1.0, step_s=0.5)
    scene.serve("fast", first_s=0.01, step_s=0.001, times=200)

    assert [scene.pick() for _ in range(3)].count("slow") == 1


def test_a_slow_node_among_its_fellows_gets_less_and_is_not_given_up() -> None:
    scene = Scene()
    for name in ("a", "b", "slow"):
        scene.add(name, slots=4)
    for _ in range(3):
        for name in ("a", "b"):
            scene.serve(name, first_s=0.1, step_s=0.02, times=10)
        scene.serve("slow", first_s=0.2, step_s=0.04, times=10)

    taken = [scene.pick() for _ in range(30)]

    assert 0 < taken.count("slow") < taken.count("a")
    assert not scene.fleet.ejected


def test_a_node_that_suddenly_takes_many_times_as_long_is_ejected() -> None:
    scene = Scene()
    for name in ("a", "b"):
        scene.add(name)
        scene.serve(name, first_s=0.1, step_s=0.02)
    for _ in range(6):
        scene.serve("a", first_s=0.1, step_s=0.02, times=2)
        if not scene.fleet.ejected:
            scene.serve("b", first_s=1.0, step_s=0.2, times=1)

    assert [member.name for member in scene.fleet.ejected] == ["b"]


def test_the_last_node_that_is_up_is_not_ejected() -> None:
    """Its fellow was lost, so all requests come to it, and it takes long and fails now and then."""
    scene = Scene()
    last, lost = scene.add("last"), scene.add("lost")
    scene.fleet.up(lost, is_up=False)
    for _ in range(5):
        scene.fleet.failed(last)
    assert scene.fleet.ejected == []
    assert scene.pick() == "last"


def test_the_last_node_of_a_model_is_not_ejected_though_others_are_up() -> None:
    fleet = Fleet(lambda: 0.0)
    fleet.prove(("cpu-fp32",), {"big": ("cpu-fp32",)})
    faq, big, both = (
        fleet.add(name, KindKey("faq/1", first, "cpu", (("big", other),)))
        for name, first, other in (
            ("faq", "cpu-fp32", None),
            ("big", None, "cpu-fp32"),
            ("both", "cpu-fp32", "cpu-fp32"),
        )
    )
    for member in (faq, big):
        fleet.up(member, is_up=True)
        for _ in range(5):
            fleet.failed(member)
    assert fleet.ejected == []

    fleet.up(both, is_up=True)
    fleet.failed(faq)
    assert fleet.ejected == [faq]


def test_room_is_counted_over_the_nodes_of_all_models_and_once_for_each() -> None:
    fleet = Fleet(lambda: 0.0)
    fleet.prove(("cpu-fp32",), {"big": ("cpu-fp32",)})
    keys = [("cpu-fp32", None), (None, "cpu-fp32"), ("cpu-fp32", "cpu-fp32")]
    for number, (first, other) in enumerate(keys):
        member = fleet.add(f"n{number}", KindKey("faq/1", first, "cpu", (("big", other),)))
        fleet.up(member, is_up=True)
        fleet.told(member, member.kind.key, slots=10**number, foreign=0)
    assert fleet.slots == 111


def test_a_node_that_was_ejected_begins_with_one_request_and_then_gets_more_each_second() -> None:
    scene = Scene()
    back = scene.add("back")
    scene.add("other")
    for _ in range(3):
        scene.fleet.failed(back)
    scene.fleet.canary_passed(back)

    assert [scene.pick() for _ in range(6)].count("back") == 1
    scene.now += 2.5
    scene.pick()
    assert back.most == 5
    assert [scene.pick() for _ in range(20)].count("back") < 5
    scene.now += 10
    scene.pick()
    assert [scene.pick() for _ in range(40)].count("back") > 10


def test_the_last_node_that_is_left_takes_all_however_lately_it_recovered() -> None:
    scene = Scene()
    back = scene.add("back")
    scene.fleet.up(back, is_up=False)
    scene.fleet.up(back, is_up=True)
    assert [scene.pick() for _ in range(3)] == ["back"] * 3


def test_a_prompt_goes_where_its_beginning_was_read_until_that_node_has_more_to_do_than_most() -> None:
    scene = Scene()
    for name in "abcd":
        scene.add(name, slots=8)
        scene.serve(name, first_s=1.0, step_s=0.001, times=20, prompt=2000)

    taken = []
    for _ in range(16):
        taken.append(scene.pick(prompt=2000, beginning=7))
        scene.now += 0.5
        scene.tickets[-1].began(scene.now)

    assert taken[:2] == [taken[0]] * 2
    assert len(set(taken)) >= 3
    assert max(taken.count(name) for name in "abcd") <= LOAD_BOUND * 16 / 4 + 2


def test_flavours_without_proof_are_kept_apart_and_the_second_pool_stands_by() -> None:
    scene = Scene(proven=())
    first = scene.add("gpu", GPU)
    scene.add("cpu", CPU)

    assert [pool.name for pool in scene.fleet.pools] == ["gpu/cuda-int4", "cpu/cpu-int8"]
    assert [scene.pick() for _ in range(20)] == ["gpu"] * 20
    scene.fleet.up(first, is_up=False)
    assert scene.pick() == "cpu"


def test_a_node_that_just_recovered_takes_all_of_its_pool_before_another_pool_takes_any() -> None:
    scene = Scene(proven=("cpu-int8",))
    back = scene.add("back", CPU)
    scene.add("standby", KindKey("m/1", "", "gpu"))
    scene.fleet.up(back, is_up=False)
    scene.fleet.up(back, is_up=True)

    assert back.most == 1
    assert [scene.pick() for _ in range(4)] == ["back"] * 4


def test_a_fleet_that_slows_down_as_a_whole_loses_nobody() -> None:
    scene = Scene()
    for name in "abc":
        scene.add(name)
        scene.serve(name, first_s=0.1, step_s=0.02)
    for _ in range(10):
        for name in "abc":
            scene.serve(name, first_s=1.0, step_s=0.2, times=1)

    assert scene.fleet.ejected == []


def test_a_node_that_hangs_gets_nothing_more_while_another_one_answers() -> None:
    scene = Scene()
    for name in ("hangs", "answers"):
        scene.add(name)
        scene.serve(name, first_s=0.1, step_s=0.001)
    hung = scene.fleet.pick(Job("m", 100, 64, (), ("answers",)))
    assert hung is not None
    scene.now += 30.0

    taken = []
    for _ in range(10):
        taken.append(scene.pick())
        scene.now += 0.1
        scene.tickets[-1].began(scene.now)

    assert taken == ["answers"] * 10


def test_proven_flavours_come_first_whatever_was_listed_before_them() -> None:
    scene = Scene(proven=("cpu-int8",))
    scene.add("unknown", KindKey("m/1", "", "gpu"))
    cpu = scene.add("cpu", CPU)

    assert [pool.name for pool in scene.fleet.pools] == ["proven", "gpu/unknown"]
    assert scene.pick() == "cpu"
    scene.fleet.told(cpu, KindKey("m/1", "cpu-fp32", "cpu"), slots=None, foreign=0)  # it serves something else now
    assert scene.pick() == "unknown"
    scene.fleet.prove(["cpu-fp32"])
    assert scene.pick() == "cpu"


def test_a_new_version_begins_with_what_is_known_of_the_old_one() -> None:
    scene = Scene()
    gpu = scene.add("gpu", GPU)
    scene.add("cpu", CPU)
    scene.serve("gpu", first_s=0.02, step_s=0.01)
    scene.serve("cpu", first_s=0.1, step_s=0.04)

    scene.fleet.told(gpu, GPU._replace(release="m/2"), slots=None, foreign=0)

    assert [scene.pick() for _ in range(3)] == ["gpu"] * 3


def test_what_others_have_at_a_node_counts_as_its_load() -> None:
    scene = Scene()
    busy = scene.add("busy", slots=4)
    scene.add("free", slots=4)
    scene.fleet.told(busy, CPU, slots=4, foreign=9)

    assert [scene.pick() for _ in range(4)] == ["free"] * 4


def test_a_node_that_is_removed_finishes_what_it_has_and_gets_nothing_new() -> None:
    scene = Scene()
    gone = scene.add("gone")
    scene.pick()
    scene.add("stays")
    scene.fleet.remove(gone)

    assert [scene.pick() for _ in range(3)] == ["stays"] * 3
    assert gone.in_flight == 1
    for ticket in scene.tickets:
        ticket.left(scene.now)
    assert gone.in_flight == 0
    assert all(kind.in_flight == 0 for pool in scene.fleet.pools for kind in pool.kinds)


def test_how_many_a_node_answers_together_is_learned_where_it_does_not_say() -> None:
    scene = Scene()
    member = scene.add("a")
    dice = Random(1)
    running: list[tuple[float, Ticket]] = []
    for _ in range(300):  # four at once, 0.5 s each; the fifth waits for the first to end
        scene.now += dice.uniform(0.0, 0.2)
        while running and running[0][0] <= scene.now:
            running.pop(0)[1].left(scene.now, 32)
        ticket = scene.fleet.pick(Job("m", 100, 32))
        assert ticket is not None
        starts = scene.now if len(running) < 4 else running[-4][0]
        ends = starts + 0.5
        later = scene.now
        while running and running[0][0] <= starts:
            at, done = running.pop(0)
            scene.now = max(at, scene.now)
            done.left(scene.now, 32)
        scene.now = starts + 0.01
        ticket.began(scene.now)
        running.append((ends, ticket))
        scene.now = max(later, scene.now)

    assert 2 <= member.slots <= 6


@pytest.mark.parametrize("count", [9, 200])
def test_among_many_nodes_the_one_with_least_to_do_is_found(count: int) -> None:
    scene = Scene()
    for number in range(count):
        scene.add(f"n{number}")
    dice = Random(count)
    for turn in range(6 * count):
        scene.pick()
        if turn > 3 * count:
            scene.tickets.pop(dice.randrange(len(scene.tickets))).left(scene.now)
    loads = [member.in_flight for member in scene.fleet.members.values()]
    scene.tickets.clear()

    name = scene.pick()

    assert scene.fleet.members[name].in_flight - 1 == min(loads)


def test_the_slots_of_the_pool_in_use_are_known_when_all_its_open_nodes_say_them() -> None:
    scene = Scene()
    assert scene.fleet.slots is None
    one, two = scene.add("one", slots=4), scene.add("two", slots=12)
    assert scene.fleet.slots == 16
    scene.fleet.up(two, is_up=False)
    assert scene.fleet.slots == 4
    scene.add("silent")
    assert scene.fleet.slots is None
    scene.fleet.remove(scene.fleet.members["silent"])
    scene.fleet.remove(one)
    assert scene.fleet.slots is None
    scene.fleet.up(two, is_up=True)
    assert scene.fleet.slots == 12
