"""Metrics in shared memory: what is read is what was counted, by however many processes, alive or not."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.parser import text_string_to_metric_families

from weir.telemetry.cells import Cells, keep_values_in
from weir.telemetry.exposition import Exposition, depart

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def values_in(cells: Cells) -> Iterator[None]:
    usual = values.ValueClass
    keep_values_in(cells)
    try:
        yield
    finally:
        values.ValueClass = usual


class Process:
    """A few metrics of every kind, as one process has them."""

    def __init__(self, cells: Cells | None = None) -> None:
        self.cells = cells or Cells()
        self.registry = CollectorRegistry()
        with values_in(self.cells):
            self.requests = Counter("requests_total", "Asked\nand \\ answered.", ("route",), registry=self.registry)
            self.seconds = Histogram("seconds", "Time.", ("route",), buckets=(0.1, 1), registry=self.registry)
            self.plain = Histogram("plain", "No labels.", buckets=(5,), registry=self.registry)
            self.running = Gauge("running", "Now.", registry=self.registry)
            self.healthy = Gauge("healthy", "All of them.", registry=self.registry, multiprocess_mode="min")
            self.state = Gauge("state", "Worst.", registry=self.registry, multiprocess_mode="max")

    def count(self, route: str, seconds: float) -> None:
        with values_in(self.cells):
            self.requests.labels(route).inc()
            self.seconds.labels(route).observe(seconds)
            self.plain.observe(seconds)


def samples(text: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def rendered(*processes: Process, departed: Cells | None = None) -> Samples:
    return samples(asyncio.run(Exposition([p.cells for p in processes], departed).rendered()))


events = st.lists(st.tuples(st.sampled_from(["/", 'a"b\\c\n', "中"]), st.floats(0, 10)), max_size=12)


@given(events)
def test_one_process_reads_as_prometheus_client_writes_it(counted: list[tuple[str, float]]) -> None:
    process = Process()
    for route, seconds in counted:
        process.count(route, seconds)
    process.running.set(3)

    assert rendered(process) == pytest.approx(samples(generate_latest(process.registry)))


@given(events, events, events)
def test_counts_are_the_sum_of_the_living_and_the_dead(
    first: list[tuple[str, float]], second: list[tuple[str, float]], third: list[tuple[str, float]]
) -> None:
    whole, dead, alive, departed = Process(), Process(), Process(), Cells()
    for route, seconds in (*first, *second, *third):
        whole.count(route, seconds)
    for process, counted in ((dead, first), (alive, second)):
        for route, seconds in counted:
            process.count(route, seconds)
        process.running.set(2)
    exposition = Exposition([dead.cells, alive.cells], departed)
    asyncio.run(exposition.rendered())
    depart(dead.cells, departed)
    for route, seconds in third:
        alive.count(route, seconds)

    got = samples(asyncio.run(exposition.rendered()))
    wanted = samples(generate_latest(whole.registry))
    gauges = {("running", ()), ("healthy", ()), ("state", ())}

    assert {k: v for k, v in got.items() if k not in gauges} == pytest.approx(
        {k: v for k, v in wanted.items() if k not in gauges}
    )
    assert got["running", ()] == 2


def test_gauges_are_merged_as_they_say() -> None:
    one, other = Process(), Process()
    for process, value in ((one, 0), (other, 1)):
        process.running.set(2)
        process.healthy.set(value)
        process.state.set(value)

    got = rendered(one, other)

    assert (got["running", ()], got["healthy", ()], got["state", ()]) == (4, 0, 1)


def test_what_a_killed_process_counted_is_there() -> None:
    process = Process()
    pid = os.fork()
    if not pid:
        for _ in range(1000):
            process.count("/", 0.5)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)

    assert rendered(process)["requests_total", (("route", "/"),)] == 1000


def test_a_place_is_used_again_after_its_process_ended() -> None:
    process, departed = Process(), Cells()
    exposition = Exposition([process.cells], departed)
    process.count("/", 0.5)
    asyncio.run(exposition.rendered())
    depart(process.cells, departed)
    again = Process(process.cells)
    again.count("/", 0.5)
    again.running.set(1)

    got = samples(asyncio.run(exposition.rendered()))
    assert got["requests_total", (("route", "/"),)] == 2
    assert got["running", ()] == 1
