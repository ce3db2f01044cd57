"""One Weir, watched by one Prometheus, for all tests of this folder."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.support.prometheus import Alertmanager, Prometheus, require_alertmanager
from tests.support.queries import Shown
from tests.support.watched import Foreign, Watched, Webhook, declared


@dataclass(frozen=True, slots=True)
class Killed:
    """The node that was killed once all else was seen, and when."""

    name: str
    pool: str
    at: float


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Gateways, nodes and Triton, after one round of work."""
    weir = Watched(tmp_path_factory.mktemp("watched"))
    try:
        weir.start().work()
        yield weir
    finally:
        weir.stop()


@pytest.fixture(scope="session")
def shown(watched: Watched) -> Shown:
    """What every process shows after the work, before anything was killed."""
    return watched.shown()


@pytest.fixture(scope="session")
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.stop()


@pytest.fixture(scope="session")
def prometheus(
    watched: Watched, shown: Shown, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus with Weir's rules that has seen several rounds of work, and an Alertmanager behind it."""
    require_alertmanager()
    folder = tmp_path_factory.mktemp("prometheus")
    foreign = Foreign(declared()["foreign"])
    manager = Alertmanager(folder / "alertmanager", webhook.url)
    jobs = {**watched.targets, "foreign": {foreign.target: {}}}
    server = Prometheus(folder, jobs, alertmanager_port=manager.port)
    try:
        manager.start()
        server.start()
        everything = sum(len(targets) for targets in jobs.values())
        server.eventually(lambda: len(server.value("up == 1")) == everything, "all targets are scraped")
        for _ in range(3):
            watched.work()
            time.sleep(1)  # rates need samples between the rounds
        server.eventually(lambda: server.value("weir:slo_budget_left:ratio"), "the rules are recorded")
        yield server
    finally:
        server.stop()
        manager.stop()
        foreign.stop()


@pytest.fixture(scope="session")
def killed(watched: Watched, prometheus: Prometheus) -> Killed:
    """Kill the only node of the pool `spare`, as the kernel does when memory is gone."""
    watched.nodes["cpu-1"].kill()
    return Killed("cpu-1", "spare", time.monotonic())
