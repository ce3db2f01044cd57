"""The chart's own manifests, running: two gateways and two CPU nodes of a small release."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import yaml
from tests.support.chart import NAMESPACE, RELEASE, Thing, render
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.here import skip_unless_pods_can_be_made
from tests.support.cluster.images import weir_images
from tests.support.cluster.pods import Pod
from tests.support.tiny_release import make_tiny_release

GATEWAY, NODES = f"{RELEASE}-gateway", f"{RELEASE}-pool-cpu"
QUICK = {"periodSeconds": 1, "timeoutSeconds": 5}
VALUES = {
    "models": {"tiny": {"version": 1, "source": {"pvc": {"claimName": "releases"}}}},
    "gateway": {"access": {"allowAnonymous": True}, "probes": {"startup": QUICK}},
    "drain": {"maxGenerationSeconds": 30, "endpointSeconds": 3, "slackSeconds": 11},
    "pools": {"cpu": {"kind": "cpu-ort", "replicas": 2, "probes": {"startup": QUICK}}},
    "tests": {"question": "How do I return an order?"},
}

Rendered = Callable[..., list[Thing]]


@pytest.fixture(scope="package")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return the chart's objects; words change values, as `--set` does."""
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    return lambda *sets: render(values, sets=sets).things


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory, rendered: Rendered) -> Iterator[Cluster]:
    skip_unless_pods_can_be_made()
    objects = rendered()
    cluster = Cluster(tmp_path_factory.mktemp("pods"), weir_images(), namespace=NAMESPACE)
    try:
        make_tiny_release(cluster.claim("releases") / "releases")
        cluster.apply(objects)
        cluster.wait_settled(180)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="package")
def client(cluster: Cluster) -> str:
    """Return the network namespace of somebody who may call the gateway."""
    space, _ = cluster.outsider("client", "apps", {})
    return space


@pytest.fixture(scope="package")
def door(cluster: Cluster) -> tuple[str, int]:
    return cluster.address(GATEWAY), 80


def kill(pod: Pod) -> None:
    """End a pod's process as the machine's own misfortunes do."""
    for pid in pod.pids:
        os.kill(pid, signal.SIGKILL)
