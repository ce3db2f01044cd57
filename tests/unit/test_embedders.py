"""Which node makes vectors, and what happens when it fails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.support.scripted_embedder import ScriptedEmbedder

from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    OverloadedError,
    WeirError,
)
from weir.routing.embedders import EmbedderNodes
from weir.supervisor.stack import Stack, StackSettings
from weir.telemetry.metrics import GatewayMetrics

ROWS = [[5, 6]]
CANARY = ((0,),)


class House:
    """Scripted nodes `e/1@n0:1`, `e/1@n1:1`, …"""

    def __init__(self, count: int) -> None:
        self.clients = [ScriptedEmbedder() for _ in range(count)]
        self.metrics = GatewayMetrics(CollectorRegistry())
        self.nodes = EmbedderNodes(
            self.metrics, probe_interval_s=0.01, connect=lambda url, model, version: self.clients[int(url[8])]
        )
        self.embedders = self.nodes.of("e", 1, self.urls(*range(count)))

    @staticmethod
    def urls(*numbers: int) -> list[str]:
        return [f"http://n{number}:1" for number in numbers]

    async def ask(self) -> None:
        await self.embedders.embedded(ROWS, timeout_s=1)

    def asked(self) -> list[int]:
        """How many requests each node had, canaries aside."""
        return [sum(rows != CANARY for rows in client.asked) for client in self.clients]

    def value(self, name: str, **labels: str) -> float | None:
        self.metrics.fold()
        return self.metrics.registry.get_sample_value(f"weir_gateway_{name}", labels)


@asynccontextmanager
async def house_of(count: int) -> AsyncIterator[House]:
    house = House(count)
    await house.nodes.hold([house.embedders])
    yield house
    await house.nodes.aclose()


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def test_nodes_take_turns() -> None:
    async with house_of(3) as house:
        for _ in range(6):
            await house.ask()
        assert house.asked() == [2, 2, 2]
        assert house.value("node_healthy", node="e/1@n0:1") == 1
        assert house.value("node_info", node="e/1@n0:1", backend="embedder") == 1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (OverloadedError(1.0), "overload"),
        (BackendUnavailableError("gone"), "connect"),
        (BackendTimeoutError("late"), "timeout"),
        (BackendError("odd"), "protocol"),
    ],
)
async def test_a_request_that_fails_is_tried_at_another_node(failure: WeirError, reason: str) -> None:
    async with house_of(2) as house:
        house.clients[0].error = failure
        for _ in range(2):
            await house.ask()
        assert house.asked() == [1, 2]
        assert house.value("upstream_errors_total", backend="embedder", reason=reason) == 1
        assert house.value("upstream_retries_total", backend="embedder") == 1


async def test_it_fails_once_every_node_has_and_says_that_one_is_full() -> None:
    async with house_of(2) as house:
        house.clients[0].error, house.clients[1].error = OverloadedError(1.0), BackendError("odd")
        for _ in range(2):
            with pytest.raises(OverloadedError):
                await house.ask()
        assert house.asked() == [2, 2]


async def test_requests_at_once_do_not_take_each_others_turns() -> None:
    async with house_of(2) as house:
        house.clients[0].error, house.clients[0].delay_s = BackendError("odd"), 0.02
        await asyncio.gather(*(house.ask() for _ in range(5)))


async def test_one_that_seemed_away_is_asked_before_a_request_fails() -> None:
    async with house_of(2) as house:
        house.clients[1].is_ready = False
        await eventually(lambda: house.value("node_healthy", node="e/1@n1:1") == 0)
        house.clients[0].error = BackendUnavailableError("gone")
        await house.ask()
        house.clients[0].error = OverloadedError(1.0)  # but not when the other one is only full
        await eventually(lambda: house.value("node_healthy", node="e/1@n0:1") == 1)
        with pytest.raises(OverloadedError):
            await house.ask()
        assert house.asked() == [2, 1]


async def test_a_node_that_is_away_gets_nothing_until_a_probe_finds_it_again() -> None:
    async with house_of(2) as house:
        house.clients[0].is_ready = False
        await eventually(lambda: house.value("node_healthy", node="e/1@n0:1") == 0)
        for _ in range(4):
            await house.ask()
        assert house.asked() == [0, 4]

        house.clients[0].is_ready = True
        await eventually(lambda: house.value("node_healthy", node="e/1@n0:1") == 1)
        for _ in range(2):
            await house.ask()
        assert house.asked() == [1, 5]


async def test_one_that_says_it_is_ready_and_fails_is_ejected_until_a_canary_comes_through() -> None:
    async with house_of(2) as house:
        house.clients[0].error = BackendError("odd")
        for _ in range(12):
            await house.ask()
        assert house.asked() == [3, 12]
        assert house.value("circuit_state", node="e/1@n0:1") == 2
        assert house.value("circuit_state", node="e/1@n1:1") == 0

        house.clients[0].error = None
        await eventually(lambda: house.value("circuit_state", node="e/1@n0:1") == 0)
        assert house.asked() == [3, 12]  # no request was risked
        for _ in range(2):
            await house.ask()
        assert house.asked() == [4, 13]


async def test_the_last_node_is_never_ejected_but_down_while_its_canary_fails() -> None:
    async with house_of(1) as house:
        (client,) = house.clients
        client.error = BackendError("odd")
        for _ in range(4):
            with pytest.raises(BackendError):
                await house.ask()
        await eventually(lambda: house.value("node_healthy", node="e/1@n0:1") == 0)
        assert house.value("circuit_state", node="e/1@n0:1") == 0

        client.error = None
        await house.ask()  # while there is no other it is asked all the same
        await eventually(lambda: house.value("node_healthy", node="e/1@n0:1") == 1)


async def test_one_probe_without_an_answer_is_forgiven_and_two_in_a_row_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House(1)
    said = iter([True, None, True, None, None, True])

    async def ready() -> bool:
        answer = next(said)
        if answer is None:
            raise BackendTimeoutError("it does not say")
        return answer

    monkeypatch.setattr(house.clients[0], "ready", ready)
    (node,) = house.embedders.nodes
    seen = []
    for _ in range(6):
        await node.probe()
        seen.append(node.is_up)
    assert seen == [True, True, True, True, False, True]


async def test_other_nodes_may_be_held_while_a_request_runs_and_it_keeps_those_that_it_has() -> None:
    async with house_of(2) as house:
        house.clients[0].delay_s = house.clients[1].delay_s = 0.1
        running = asyncio.create_task(house.ask())
        await eventually(lambda: sum(house.asked()) == 1)
        await eventually(lambda: 1 in {house.value("node_in_flight", node=f"e/1@n{number}:1") for number in (0, 1)})
        others = house.nodes.of("e", 1, house.urls(1))
        await house.nodes.hold([others])

        assert others.nodes == (house.embedders.nodes[1],)  # as well known as before
        await running
        assert house.value("node_healthy", node="e/1@n0:1") is None
        assert house.value("node_info", node="e/1@n0:1", backend="embedder") is None
        await house.ask()
        await house.ask()
        assert house.asked() >= [1, 1]
        assert house.value("node_healthy", node="e/1@n0:1") is None


def test_one_command_serves_an_embedder_beside_the_model(tmp_path: Path) -> None:
    words = tmp_path / "words"
    stack = Stack(StackSettings(Path("faq/1"), tmp_path, "::1", 80, 81, 82, embedders=(words,)), print)
    assert stack.node.arguments[:3] == ("node", "faq/1", str(words))
    at = stack.gateway.arguments.index("--embedder")
    assert stack.gateway.arguments[at + 1] == str(words)
