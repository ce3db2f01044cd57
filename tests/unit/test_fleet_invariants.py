"""What always holds of the policy, whatever happens to its nodes."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fleet_scene import CPU, GPU, Scene

from weir.routing.policy.breaker import Circuit
from weir.routing.policy.fleet import LOAD_BOUND, Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.member import Member
from weir.routing.policy.ticket import Ticket

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["pick"] * 6 + ["began", "ended", "failed", "left", "down", "up", "canary", "add", "remove", "told", "wait"]
        ),
        st.integers(0, 1 << 16),
    ),
    max_size=120,
)


@settings(max_examples=120, deadline=None)
@given(STEPS, st.integers(1, 14))
def test_whatever_happens_reservations_add_up_and_half_of_the_nodes_stay(
    steps: list[tuple[str, int]], count: int
) -> None:
    scene = Scene()
    for number in range(count):
        scene.add(f"n{number}", (GPU, CPU)[number % 2], slots=(None, 2)[number % 3 == 0])
    live: list[Ticket] = []
    for name, choice in steps:
        _do(scene, live, name, choice)
        _check(scene, live)
    members = list(scene.fleet.members.values())
    for ticket in live:
        ticket.left(scene.now)
    assert all((m.in_flight, m.tokens, m.unread_us) == (0, 0, 0) for m in members)


def _do(scene: Scene, live: list[Ticket], name: str, choice: int) -> None:
    members = list(scene.fleet.members.values())
    if name == "pick":
        _pick(scene, live, choice)
    elif name == "wait":
        scene.now += choice / (1 << 14)
    elif name in {"began", "ended", "failed", "left"}:
        if live:
            _go_on(scene, live, name, choice)
    elif name == "add":
        scene.add(f"new{next(scene.numbers)}", (GPU, CPU)[choice % 2])
    elif name == "canary":
        for due in [member for member in members if member.breaker.state is Circuit.HALF_OPEN]:
            (scene.fleet.canary_passed if choice % 2 else scene.fleet.canary_failed)(due)
    elif members:
        _happens_to(scene.fleet, members[choice % len(members)], name, choice)


def _go_on(scene: Scene, live: list[Ticket], name: str, choice: int) -> None:
    ticket = live[choice % len(live)]
    if name == "began":
        ticket.began(scene.now)
        return
    live.remove(ticket)
    ticket.left(scene.now, 1 + choice % 90 if name == "ended" else None)
    if name == "ended":
        scene.fleet.succeeded(ticket.member)
    if name == "failed":
        scene.fleet.failed(ticket.member)


def _happens_to(fleet: Fleet, member: Member, name: str, choice: int) -> None:
    match name:
        case "down" | "up":
            fleet.up(member, is_up=name == "up")
        case "remove":
            fleet.remove(member)
        case "told":
            fleet.told(member, (GPU, CPU)[choice % 2], slots=1 + choice % 5, foreign=choice % 3)


def _pick(scene: Scene, live: list[Ticket], choice: int) -> None:
    fleet = scene.fleet
    job = Job("m", 1 + choice % 3000, 1 + choice % 500, ((choice % 5, choice % 100),))
    loads = {m.name: (m.in_flight, m.kind.in_flight, m.kind.open_count) for m in fleet.members.values()}
    usable = [m for m in fleet.members.values() if m.is_open]
    ticket = fleet.pick(job)
    assert (ticket is None) == (not usable)
    if ticket is None:
        return
    live.append(ticket)
    member = ticket.member
    assert member in usable
    assert member.breaker.is_closed
    own, together, count = loads[member.name]
    if ticket.is_held:
        assert own <= LOAD_BOUND * together / count + 1
    if any(other.in_flight < other.most for other in usable if other is not member):
        assert own < member.most


def _check(scene: Scene, live: list[Ticket]) -> None:
    members = list(scene.fleet.members.values())
    assert 2 * len(scene.fleet.ejected) <= len(members)
    for member in members:
        assert member.in_flight == sum(ticket.member is member for ticket in live)
        assert member.tokens >= member.in_flight
        assert member.is_open == (member.is_up and member.breaker.is_closed)
    for kind in {member.kind for member in members}:
        assert kind.in_flight == sum(member.in_flight for member in kind.members)
        assert kind.open_count == sum(member.is_open for member in kind.members)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 2000), max_size=30), st.integers(1, 4000), st.integers(1, 500), st.integers(2, 8))
def test_no_other_node_is_predicted_to_be_sooner_so_a_deadline_that_can_be_met_is(
    before: list[int], prompt: int, most: int, count: int
) -> None:
    scene = Scene()
    for number in range(count):
        scene.add(f"n{number}", (GPU, CPU)[number % 2], slots=2)
    scene.serve("n0", first_s=0.02, step_s=0.01)
    scene.serve("n1", first_s=0.1, step_s=0.05)
    for tokens in before:
        scene.pick(prompt=tokens, most=tokens, beginning=tokens % 3)
    names = list(scene.fleet.members)

    chosen = scene.fleet.choose(Job("m", prompt, most))
    assert chosen is not None
    for name in names:
        alone = scene.fleet.choose(Job("m", prompt, most, (), [other for other in names if other != name]))
        assert alone is not None
        assert chosen[1] <= alone[1] + 1e-12
