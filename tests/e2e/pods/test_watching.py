"""The chart's own monitors, rules and scaler at work: what a real Prometheus finds, who is told, how many nodes run."""

import time
from collections.abc import Iterator

import pytest
from tests.e2e.pods.conftest import GATEWAY, NODES, Rendered
from tests.support.cluster.autoscaler import Autoscaler
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.load import Streams
from tests.support.cluster.monitoring import Monitoring, monitoring
from tests.support.cluster.objects import of_kind
from tests.support.prometheus import require_alertmanager

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

WATCHED = ("monitoring.monitors.enabled=true", "monitoring.rules.enabled=true")
SCALED = (*WATCHED, 'pools.cpu.autoscaling={"mode":"keda","minReplicas":1,"maxReplicas":4}')


@pytest.fixture(scope="module")
def watcher(cluster: Cluster, rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    require_alertmanager()
    cluster.apply(rendered(*SCALED))
    cluster.wait_settled(120)
    with monitoring(cluster, tmp_path_factory.mktemp("monitoring") / "all") as watcher:
        yield watcher


def test_prometheus_finds_every_pod_under_the_jobs_that_rules_know(cluster: Cluster, watcher: Monitoring) -> None:
    up = {(each["metric"]["job"], each["metric"]["pod"]) for each in watcher.query("up == 1")}
    wanted = {("weir-gateway", pod.name) for pod in cluster.pods(GATEWAY)}
    assert up == wanted | {("weir-node", pod.name) for pod in cluster.pods(NODES)}


def test_a_queue_makes_nodes_and_its_end_takes_them_away(
    cluster: Cluster, watcher: Monitoring, client: str, door: tuple[str, int]
) -> None:
    """From one node to four within a minute, and back. The wait before a step down is twenty times as short here."""
    (scaled,) = of_kind(cluster.objects, "ScaledObject")
    cluster.scale(NODES, 1)
    cluster.wait_settled(90)
    with Autoscaler(scaled, cluster, watcher, quick=20) as scaler:
        with Streams(client, door, 44, tokens=32) as streams:
            began = time.monotonic()
            cluster.wait(lambda: len(cluster.pods(NODES)) == 4, 60)
            cluster.wait(lambda: all(pod.is_ready for pod in cluster.pods(NODES)), 90)
            seconds = (scaler.steps[0][0] - began, time.monotonic() - began)
            print("a queue: first step after {:.1f} s, four nodes ready after {:.1f} s".format(*seconds))
        assert scaler.steps[0][0] - began <= 60
        cluster.wait(lambda: len(cluster.pods(NODES)) == 1, 120)
        cluster.wait_settled(90)
    assert streams.failures == []


def test_nodes_that_are_all_gone_are_told_to_somebody_within_a_minute(cluster: Cluster, watcher: Monitoring) -> None:
    cluster.wait_settled(60)
    (pod,) = cluster.pods(NODES)
    cluster.cut(pod)
    began = time.monotonic()
    try:
        cluster.wait(lambda: watcher.fired("WeirNoHealthyNode", began), 60)
        print(f"no node left: at the webhook after {time.monotonic() - began:.1f} s")
    finally:
        cluster.heal(pod)
    cluster.wait(lambda: pod.is_ready, 60)
