"""Flavours that nobody proved equal: who answers, and who is told."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from weir.backends.base import NodeReport
from weir.backends.scripted import ScriptedBackend
from weir.contracts.errors import BackendUnavailableError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.routing.jobs import job_of
from weir.routing.node import Node
from weir.routing.policy.fleet import Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.member import KindKey
from weir.routing.release import Offer
from weir.routing.router import Router
from weir.telemetry.metrics import GatewayMetrics

OK = (TokenChunk("ok"), Finished(FinishReason.EOS, Usage(1, 1)))
ASKED = GenerateRequest(id="r", prompt="?", sampling=SamplingParams(max_new_tokens=4))


class House:
    """A router over a GPU and a CPU node that say what they run."""

    def __init__(self, *proven: str, gpu_says: str | None = "cuda-int4", others: Sequence[Offer] = ()) -> None:
        self.registry = CollectorRegistry()
        self.metrics = GatewayMetrics(self.registry)
        self.gpu, self.cpu = (ScriptedBackend(OK, name=name) for name in ("gpu", "cpu"))
        self.gpu.report, self.cpu.report = NodeReport(2, gpu_says), NodeReport(2, "cpu-fp32")
        nodes = [Node(self.gpu, self.metrics, pool="gpu"), Node(self.cpu, self.metrics)]
        offer = Offer("faq", 2, "cpu-fp32", frozenset(proven))
        self.router = Router(nodes, self.metrics, probe_interval_s=0.01, offer=offer, others=others)

    async def answers(self, count: int = 6, model: str = "faq") -> set[str]:
        names = set()
        for _ in range(count):
            routed = await self.router.open(ASKED.changed(model=model), timeout_s=1)
            async for _ in routed.events:
                pass
            names.add(routed.node)
        return names

    def value(self, name: str, **labels: str) -> float | None:
        self.metrics.fold()
        return self.registry.get_sample_value(f"weir_gateway_{name}", labels)


async def test_proven_flavours_answer_side_by_side(caplog: pytest.LogCaptureFixture) -> None:
    house = House("cuda-int4", "cpu-fp32")
    await house.router.start()

    assert await house.answers(12) == {"gpu", "cpu"}
    assert house.value("pool_nodes", pool="proven", use="first") == 2
    assert "flavours_kept_apart" not in caplog.text
    await house.router.aclose()


@pytest.mark.parametrize("gpu_says", ["cuda-int4", None])
async def test_an_unproven_flavour_stands_by_and_the_log_and_a_metric_say_so(
    caplog: pytest.LogCaptureFixture, gpu_says: str | None
) -> None:
    house = House("cpu-fp32", gpu_says=gpu_says)
    with caplog.at_level(logging.WARNING):
        await house.router.start()
    name = f"gpu/{gpu_says or 'unknown'}"

    assert await house.answers() == {"cpu"}
    assert house.value("pool_nodes", pool=name, use="standby") == 1
    (record,) = [one for one in caplog.records if one.message == "flavours_kept_apart"]
    assert vars(record)["used"] == "proven"
    assert vars(record)["standing_by"] == [name]
    await house.router.aclose()


async def test_the_standby_answers_while_no_node_of_the_first_pool_is_well_and_that_is_counted() -> None:
    house = House("cpu-fp32")
    await house.router.start()
    house.cpu.is_ready = False
    async with asyncio.timeout(10):
        while house.value("pool_nodes", pool="proven", use="first") != 0:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)

    assert await house.answers(3) == {"gpu"}
    assert house.value("routed_total", backend="gpu", why="standby") == 3
    house.cpu.is_ready = True
    async with asyncio.timeout(10):
        while house.value("pool_nodes", pool="proven", use="first") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await house.answers(3) == {"cpu"}
    await house.router.aclose()


async def test_another_release_may_prove_what_the_last_one_did_not() -> None:
    house = House("cpu-fp32")
    await house.router.start()
    assert await house.answers() == {"cpu"}

    house.router.offers(Offer("faq", 3, "cpu-fp32", frozenset({"cpu-fp32", "cuda-int4"})))

    assert "gpu" in await house.answers()
    await house.router.aclose()


async def test_a_release_that_nobody_speaks_of_is_mixed_with_nothing() -> None:
    """Nodes that say what they run of one release have said nothing of another one."""
    house = House("cpu-fp32", "cuda-int4", others=[Offer("big", 1, "cpu-fp32", frozenset({"cpu-fp32", "cuda-int4"}))])
    await house.router.start()

    assert await house.answers(12) == {"gpu", "cpu"}
    assert await house.answers(12, "big") == {"gpu"}
    assert house.value("pool_nodes", pool="big/gpu/unknown", use="first") == 1
    assert house.value("pool_nodes", pool="big/cpu/unknown", use="standby") == 1
    assert house.value("routed_total", backend="gpu", why="standby") is None
    await house.router.aclose()


async def test_a_model_that_no_node_serves_is_away_and_the_others_are_not() -> None:
    house = House("cpu-fp32", "cuda-int4", others=[Offer("big", 1, "cpu-fp32", frozenset({"cpu-fp32"}))])
    for backend in (house.gpu, house.cpu):
        backend.report = replace(backend.report, others={})
    await house.router.start()

    assert await house.answers(12) == {"gpu", "cpu"}
    with pytest.raises(BackendUnavailableError):
        await house.answers(1, "big")
    await house.router.aclose()


async def test_the_default_model_is_away_where_nodes_serve_others_alone_and_canaries_ask_for_those() -> None:
    """A canary for a model that the node does not have would keep it away for good."""
    house = House("cpu-fp32", others=[Offer("big", 1, "cpu-fp32", frozenset({"cpu-fp32"}))])
    for backend in (house.gpu, house.cpu):
        backend.report = replace(backend.report, others={"big": "cpu-fp32"})
    house.cpu.report = replace(house.cpu.report, serves_first=False)
    house.gpu.is_ready = False
    await house.router.start()

    assert await house.answers(3, "big") == {"cpu"}
    with pytest.raises(BackendUnavailableError, match="1 not ready, 1 without this model"):
        await house.answers(1)
    assert house.router.away == ["faq"]
    assert [house.value("model_nodes", model=model) for model in ("faq", "big")] == [0, 1]

    house.router.fleet.members["cpu"].breaker.open()
    house.router.fleet.members["cpu"].breaker.hurry()
    (cpu,) = [node for node in house.router.nodes if node.name == "cpu"]
    await asyncio.sleep(0.11)  # a probe just before is taken for this one
    assert await cpu.probe()
    assert [call.model for call in house.cpu.calls if call.id == "canary"] == ["big"]
    await house.router.aclose()


_FLAVOURS = st.sampled_from(["", "cpu-fp32", "cpu-int8", "cuda-int4"])
_PROVEN = st.sets(st.sampled_from(["cpu-fp32", "cpu-int8", "cuda-int4"]))
_NODES = st.lists(st.tuples(st.none() | _FLAVOURS, st.none() | _FLAVOURS, st.sampled_from(["cpu", "gpu"])), max_size=6)


@given(_NODES, _PROVEN, _PROVEN)
def test_whatever_nodes_say_only_proven_flavours_of_the_release_that_is_asked_for_share_a_pool(
    nodes: list[tuple[str | None, str | None, str]], faq: set[str], big: set[str]
) -> None:
    fleet = Fleet(lambda: 0.0)
    for number, (flavour, other, label) in enumerate(nodes):
        fleet.add(f"n{number}", KindKey("faq/1", flavour, label, (("big", other),)))
    fleet.prove(faq, {"big": big})

    for pools, proven, of in (
        (fleet.pools, faq, lambda key: key.flavour),
        (fleet.pools_of["big"], big, lambda key: key.flavour_of("big")),
    ):
        kinds = [kind for pool in pools for kind in pool.kinds]
        serving = {member.kind.key for member in fleet.members.values() if of(member.kind.key) is not None}
        assert len(kinds) == len(serving)
        assert {kind.key for kind in kinds} == serving
        for pool in pools:
            flavours = {of(kind.key) for kind in pool.kinds}
            assert flavours <= proven or len(flavours) == 1 == len({kind.key.label for kind in pool.kinds})
    for model, job in (("faq", Job("faq", 5, 5)), ("big", Job("big", 5, 5))):
        for member in fleet.members.values():
            fleet.up(member, is_up=True)
        serving_names = {name for name, member in fleet.members.items() if member.kind.key.serves(model)}
        assert fleet.open_count(model) == len(serving_names)
        taken = fleet.pick(job)
        assert (taken is None) == (not serving_names)
        assert taken is None or taken.member.name in serving_names


def test_beginnings_are_shared_by_one_tenant_model_and_adapter_only() -> None:
    base = GenerateRequest(id="r", model="faq", prompt="a" * 600 + "b", cache_salt="one")
    job = job_of(base, 200, has_choice=True)

    assert [tokens for _, tokens in job.beginnings] == [170, 42]
    same = base.model_copy(update={"id": "s", "prompt": "a" * 600 + "c"})
    assert job_of(same, 200, has_choice=True).beginnings == job.beginnings
    for other in ({"cache_salt": "two"}, {"adapter": "returns"}, {"model": "other"}, {"prompt": "b" * 601}):
        keys = {key for key, _ in job_of(base.model_copy(update=other), 200, has_choice=True).beginnings}
        assert keys.isdisjoint(key for key, _ in job.beginnings)
    assert job_of(base, 200, has_choice=False).beginnings == ()
    assert job_of(base.model_copy(update={"prompt": "short"}), 0, has_choice=True).beginnings == ()
