"""Nodes are found by list, by file and by name; they come and go while others are left alone."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from weir.backends.scripted import ScriptedBackend
from weir.contracts.errors import UsageError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.gateway.nodes import NodeList
from weir.gateway.settings_nodes import NodeSettings
from weir.routing.discovery import Finder, NodeSpec, addresses
from weir.routing.node import Node
from weir.routing.router import Router
from weir.telemetry.metrics import GatewayMetrics

OK = (TokenChunk("ok"), Finished(FinishReason.EOS, Usage(1, 1)))
ASKED = GenerateRequest(id="r", prompt="?", sampling=SamplingParams(max_new_tokens=4))


class Names:
    """A name server; an address list that is an error is raised."""

    def __init__(self, **records: list[str] | OSError) -> None:
        self.records = records

    async def __call__(self, host: str) -> Sequence[str]:
        found = self.records[host]
        if isinstance(found, OSError):
            raise found
        return found


class House:
    """A router whose nodes come from a list; `made` counts how often each was made."""

    def __init__(self, nodes: list[NodeSettings], names: Names | None = None, file: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self.metrics = GatewayMetrics(self.registry)
        self.made: list[NodeSpec] = []
        self.backends: dict[str, ScriptedBackend] = {}
        finder = Finder(names or Names())
        self.list = NodeList(nodes, file, self.metrics, interval_s=0.05, finder=finder)
        self.router = Router(self.list.first(self.make), self.metrics, probe_interval_s=0.02)

    def make(self, spec: NodeSpec) -> Node:
        self.made.append(spec)
        self.backends[spec.name] = ScriptedBackend([*OK[:1], 0.05, *OK[1:]], name=spec.name)
        return Node(self.backends[spec.name], self.metrics, pool=spec.pool, flavour=spec.flavour)

    @property
    def names(self) -> set[str]:
        return {node.name for node in self.router.nodes}


def node(name: str, url: str, **more: str) -> NodeSettings:
    return NodeSettings(name=name, url=url, **more)


async def test_a_name_stands_for_a_node_at_each_of_its_addresses() -> None:
    house = House(
        [node("gpu", "dns+grpc://triton:8001", pool="gpu", flavour="cuda-int4"), node("one", "http://10.9.9.9:8100")],
        Names(triton=["10.0.0.1", "fd00::2"]),
    )
    await house.list.settle(house.router)

    assert {(spec.name, spec.url, spec.pool, spec.flavour) for spec in house.made} == {
        ("gpu-10-0-0-1", "grpc://10.0.0.1:8001", "gpu", "cuda-int4"),
        ("gpu-fd00--2", "grpc://[fd00::2]:8001", "gpu", "cuda-int4"),
        ("one", "http://10.9.9.9:8100", "cpu", None),
    }


async def test_nodes_that_stay_are_not_made_anew_and_those_that_go_finish_what_they_have() -> None:
    names = Names(pods=["10.0.0.1", "10.0.0.2"])
    house = House([node("cpu", "dns+http://pods:8100")], names)
    await house.list.settle(house.router)
    await house.router.start()
    running = await house.router.open(ASKED, timeout_s=5)
    other = ({"cpu-10-0-0-1", "cpu-10-0-0-2"} - {running.node}).pop()

    names.records["pods"] = [other.removeprefix("cpu-").replace("-", "."), "10.0.0.3"]
    await house.list.settle(house.router)

    assert house.names == {other, "cpu-10-0-0-3"}
    assert [spec.name for spec in house.made].count(other) == 1
    assert [event async for event in running.events][-1].type == "finished"
    assert {(await _ask(house.router)) for _ in range(4)} <= house.names
    assert house.registry.get_sample_value("weir_gateway_node_healthy", {"node": running.node}) is None
    assert house.registry.get_sample_value("weir_gateway_node_healthy", {"node": other}) == 1
    await house.router.aclose()


async def _ask(router: Router) -> str:
    routed = await router.open(ASKED, timeout_s=5)
    async for _ in routed.events:
        pass
    return routed.node


async def test_a_name_that_cannot_be_looked_up_keeps_its_nodes() -> None:
    names = Names(pods=["10.0.0.1"])
    house = House([node("cpu", "dns+http://pods:8100")], names)
    await house.list.settle(house.router)

    names.records["pods"] = OSError("no answer")
    await house.list.settle(house.router)
    assert house.names == {"cpu-10-0-0-1"}

    house.metrics.fold()
    assert house.registry.get_sample_value("weir_gateway_discoveries_total", {"result": "failed"}) == 1


async def test_new_addresses_are_found_while_it_runs() -> None:
    names = Names(pods=[])
    house = House([node("cpu", "dns+http://pods:8100")], names)
    await house.list.settle(house.router)
    await house.router.start()
    watching = asyncio.create_task(house.list.watch(house.router, look_s=0.02))
    names.records["pods"] = ["10.0.0.4"]

    async with asyncio.timeout(10):
        while not house.router.is_ready_for(""):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)

    assert house.names == {"cpu-10-0-0-4"}
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await house.router.aclose()


async def test_a_file_of_nodes_is_watched_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text("- {name: a, url: 'http://127.0.0.1:1'}\n", encoding="utf-8")
    house = House([], file=file)
    await house.list.settle(house.router)
    await house.router.start()
    watching = asyncio.create_task(house.list.watch(house.router, look_s=0.02))

    for number, (text, names) in enumerate(
        [
            ("- {name: a, url: 'http://127.0.0.1:1'}\n- {name: b, url: 'http://127.0.0.1:2'}\n", {"a", "b"}),
            ("- {name: a, url: 'ftp://127.0.0.1:1'}\n", {"a", "b"}),
            ("- {name: b, url: 'http://127.0.0.1:3'}\n", {"b"}),
        ]
    ):
        file.write_text(text, encoding="utf-8")
        os.utime(file, (number + 1, number + 1))
        async with asyncio.timeout(20):
            while house.names != names or house.list._watch._known.get(file) is None or not _is_known(house, file):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert house.names == names

    assert house.made[-1].url == "http://127.0.0.1:3"  # the same name at another place is another node
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await house.router.aclose()


def _is_known(house: House, file: Path) -> bool:
    """Whether the present version of the file was looked at."""
    seen = house.list._watch._known.get(file)
    return seen is not None and seen[2] == file.stat().st_mtime_ns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {name: a, url: nowhere}", "nodes.yaml: 0.url: String should match pattern"),
        ("- {name: a, url: 'http://h:1', colour: red}", "nodes.yaml: 0.colour: Extra inputs are not permitted"),
        ("[", "nodes.yaml: no YAML"),
        ("- {name: a, url: 'http://h:1'}\n- {name: a, url: 'http://h:2'}", "two nodes are called a"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        House([], file=file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nodes\.yaml: No such file"):
        House([], file=tmp_path / "nodes.yaml")


async def test_real_look_ups_give_every_address_once() -> None:
    found = await addresses("localhost")
    assert "127.0.0.1" in found
    assert len(set(found)) == len(found)
