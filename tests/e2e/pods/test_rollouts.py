"""Updates under streams that never rest: nothing is cut, nothing fails."""

import copy
import time
from collections.abc import Sequence

import pytest
from tests.e2e.pods.conftest import GATEWAY, NODES, Rendered
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.load import Streams
from tests.support.cluster.objects import Object, is_hook, name_of, of_kind

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_what_helm_test_asks_is_answered(cluster: Cluster, rendered: Rendered) -> None:
    hooks = [each for each in rendered() if is_hook(each) and each["kind"] == "Pod"]
    assert len(hooks) >= 2
    for hook in hooks:
        code, text = cluster.run(hook, 120)
        assert code == 0, f"{name_of(hook)}\n{text}"


def test_an_update_of_gateways_and_nodes_cuts_no_stream(
    cluster: Cluster, rendered: Rendered, client: str, door: tuple[str, int]
) -> None:
    before = {pod.name for pod in (*cluster.pods(GATEWAY), *cluster.pods(NODES))}
    with Streams(client, door, 50, tokens=48) as streams:
        cluster.wait(lambda: len(streams.outcomes) >= 50, 90)
        cluster.apply(
            rendered("gateway.podAnnotations.round=second", "pools.cpu.podAnnotations.round=second"),
        )
        cluster.wait(lambda: not before & {pod.name for pod in (*cluster.pods(GATEWAY), *cluster.pods(NODES))}, 240)
        cluster.wait_settled(240)
        settled = time.monotonic()
        cluster.wait(lambda: streams.whole_since(settled) >= 50, 90)
    print(
        f"an update of all pods: {len(streams.outcomes)} streams, {len(streams.failures)} failed"
    )  # docs/benchmarks.md
    assert streams.failures == []
    assert len(streams.outcomes) > 200


def test_an_update_that_never_gets_ready_leaves_the_old_pods_at_work(
    cluster: Cluster, client: str, door: tuple[str, int]
) -> None:
    """The new pods' memory is too little: the kernel kills them, again and again."""
    before = {pod.name for pod in cluster.pods(NODES)}
    now = cluster.objects
    with Streams(client, door, 2, tokens=16) as streams:
        cluster.apply(with_memory(now, NODES, "40Mi"))
        cluster.wait(lambda: any(pod.restarts >= 2 for pod in cluster.pods(NODES)), 120)
        killed = [pod for pod in cluster.pods(NODES) if pod.restarts]
        assert any("ended: 137" in words for pod in killed for _, words in pod.story.events), killed[0].log()
        assert before <= {pod.name for pod in cluster.pods(NODES)}
        cluster.apply(now)
        cluster.wait_settled(120)
    assert streams.failures == []
    assert {pod.name for pod in cluster.pods(NODES)} == before


def with_memory(objects: Sequence[Object], deployment: str, limit: str) -> list[Object]:
    changed = copy.deepcopy(list(objects))
    manifest = next(each for each in of_kind(changed, "Deployment") if name_of(each) == deployment)
    manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = limit
    return changed
