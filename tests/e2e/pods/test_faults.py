"""What breaks under streams that never rest: a killed node, a cable that is out, flows that nobody allowed."""

import http.client
import time

import pytest
from tests.e2e.pods.conftest import GATEWAY, NODES, kill
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.load import Outcome, Streams
from tests.support.cluster.network import connect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def refused_to_start(streams: Streams, since: float) -> list[Outcome]:
    """Return requests begun after a moment that failed before their first event: a new one should go elsewhere."""
    return [each for each in streams.failures if each.began >= since and each.tokens == 0]


def test_a_killed_node_costs_new_requests_nothing_after_a_second(
    cluster: Cluster, client: str, door: tuple[str, int]
) -> None:
    with Streams(client, door, 8, tokens=48) as streams:
        cluster.wait(lambda: len(streams.outcomes) >= 8, 60)
        pod = cluster.pods(NODES)[0]
        kill(pod)
        killed = time.monotonic()
        cluster.wait(lambda: streams.whole_since(killed + 1) >= 16, 60)
        cluster.wait(lambda: pod.restarts >= 1 and pod.is_ready, 90)
        ready = time.monotonic()
        cluster.wait(lambda: streams.whole_since(ready) >= 16, 60)
    last = max((each.began - killed for each in streams.failures), default=0.0)
    print(
        f"a killed node: {len(streams.outcomes)} streams, {len(streams.failures)} failed, last begun {last:.2f} s after"
    )
    assert refused_to_start(streams, killed + 1) == []
    assert all("error_type" in each.error for each in streams.failures), streams.failures


def test_a_node_whose_cable_is_out_is_left_alone(cluster: Cluster, client: str, door: tuple[str, int]) -> None:
    pod = cluster.pods(NODES)[0]
    with Streams(client, door, 8, tokens=48) as streams:
        cluster.wait(lambda: len(streams.outcomes) >= 8, 60)
        cluster.cut(pod)
        try:
            cluster.wait(lambda: not pod.is_ready, 60)
            out = time.monotonic()
            cluster.wait(lambda: streams.whole_since(out) >= 16, 90)
        finally:
            cluster.heal(pod)
        cluster.wait(lambda: pod.is_ready, 60)
    assert refused_to_start(streams, out) == []


def test_only_what_a_policy_allows_comes_through(cluster: Cluster, client: str, door: tuple[str, int]) -> None:
    watcher, _ = cluster.outsider("watcher", "monitoring", {})
    gateway, node = cluster.pods(GATEWAY)[0], cluster.pods(NODES)[0]
    cluster.wait(cluster.is_told, 30)
    assert get(client, door, "/livez") == 200
    assert get(watcher, (gateway.address, 8081), "/metrics") == 200
    assert get(watcher, (node.address, 8100), "/metrics") == 200
    for space, address in (
        (client, (gateway.address, 8081)),
        (client, (node.address, 8100)),
        (watcher, (gateway.address, 22)),
    ):
        with pytest.raises(OSError, match=r"timed out|refused|unreachable"):
            get(space, address, "/metrics")
    with pytest.raises(OSError, match=r"timed out|unreachable"):
        get(node.space, (gateway.address, 8081), "/metrics")


def get(space: str, address: tuple[str, int], path: str) -> int:
    with connect(space, address, 2) as wire:
        connection = http.client.HTTPConnection(address[0], timeout=5)
        connection.sock = wire
        connection.request("GET", path)
        return connection.getresponse().status
