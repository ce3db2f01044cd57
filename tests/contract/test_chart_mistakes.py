"""Tests of the chart's tests: mistakes that people make in templates, each of which must be noticed."""

from typing import Any

import pytest
import yaml
from tests.support.chart import CHART, VERSIONS, manifests_of, schema_problems
from tests.support.invariants import problems_in
from tests.support.manifests import Manifests, Thing

FULL, CANARY = (CHART / "ci" / f"{name}.yaml" for name in ("full", "canary"))

# Each change is what somebody may do to a template by mistake; the schema or an invariant must notice.


def _volume(m: Manifests) -> None:
    m.one("Deployment", "weir-pool-cpu")["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = "weir-cpu"


def _pods(m: Manifests, name: str = "weir-pool-cpu") -> Thing:
    spec: Thing = m.one("Deployment", name)["spec"]["template"]["spec"]
    return spec


def _container(m: Manifests, name: str = "weir-pool-cpu") -> Thing:
    container: Thing = _pods(m, name)["containers"][0]
    return container


def _settings(m: Manifests, name: str, file: str, **changes: Any) -> None:
    data = m.one("ConfigMap", name)["data"]
    data[file] = yaml.safe_dump(yaml.safe_load(data[file]) | changes)


def _without_egress(m: Manifests, port: int | str) -> None:
    spec = m.one("NetworkPolicy", "weir-gateway")["spec"]
    spec["egress"] = [rule for rule in spec["egress"] if rule["ports"][0]["port"] != port]


SPOILED = {
    "a service's target port by another name": (
        "ports",
        lambda m: m.one("Service", "weir-gateway")["spec"]["ports"][0].update(targetPort="web"),
    ),
    "a container's port by another name": (
        "ports",
        lambda m: _container(m)["ports"][0].update(name="web"),
    ),
    "a headless service's own number": (
        "ports",
        lambda m: m.one("Service", "weir-pool-cpu")["spec"]["ports"][0].update(port=80),
    ),
    "a monitor's port by another name": (
        "ports",
        lambda m: m.one("ServiceMonitor", "weir-gateway")["spec"]["endpoints"][0].update(port="metrics"),
    ),
    "pods that no monitor asks": (
        "ports",
        lambda m: m.one("PodMonitor", "weir-nodes")["spec"]["podMetricsEndpoints"].pop(),
    ),
    "a probe's port by another name": (
        "ports",
        lambda m: _container(m)["livenessProbe"]["httpGet"].update(port="health"),
    ),
    "an ingress to a port that is not there": (
        "ports",
        lambda m: m.one("Ingress", "weir-gateway")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"][
            "port"
        ].update(name="https"),
    ),
    "a typo in a service's selector": (
        "selectors",
        lambda m: m.one("Service", "weir-gateway")["spec"]["selector"].update(
            {"app.kubernetes.io/component": "gatway"}
        ),
    ),
    "a typo in a pod's label": (
        "selectors",
        lambda m: m.one("Deployment", "weir-pool-cpu")["spec"]["template"]["metadata"]["labels"].update(
            {"weir/pool": "cpus"}
        ),
    ),
    "a typo in a budget's selector": (
        "selectors",
        lambda m: m.one("PodDisruptionBudget", "weir-gateway")["spec"]["selector"]["matchLabels"].update(
            {"app.kubernetes.io/name": "wier"}
        ),
    ),
    "a typo in a monitor's selector": (
        "selectors",
        lambda m: m.one("ServiceMonitor", "weir-gateway")["spec"]["selector"]["matchLabels"].update(
            {"app.kubernetes.io/component": "admin"}
        ),
    ),
    "a version in a selector": (
        "selectors",
        lambda m: [
            labels.update({"app.kubernetes.io/version": "0.1.0"})
            for labels in (
                m.one("Deployment", "weir-pool-cpu")["spec"]["selector"]["matchLabels"],
                m.one("Deployment", "weir-pool-cpu")["spec"]["template"]["metadata"]["labels"],
            )
        ],
    ),
    "one path for two probes": (
        "probes",
        lambda m: _container(m, "weir-gateway")["livenessProbe"]["httpGet"].update(path="/readyz"),
    ),
    "no startup probe": ("probes", lambda m: _container(m).pop("startupProbe")),
    "less grace than a drain": ("leaving", lambda m: _pods(m).update(terminationGracePeriodSeconds=30)),
    "a node that drains longer than its grace": (
        "leaving",
        lambda m: _settings(m, "weir-pool-cpu", "node.yaml", drain_timeout_s=600),
    ),
    "a Triton that drains longer than its grace": (
        "leaving",
        lambda m: (
            _container(m, "weir-pool-gpu")["args"].append("--exit-timeout-secs=600")
            or _container(m, "weir-pool-gpu")["args"].remove("--exit-timeout-secs=120")
        ),
    ),
    "a node without preStop": ("leaving", lambda m: _container(m).pop("lifecycle")),
    "root": ("security", lambda m: _pods(m)["securityContext"].update(runAsUser=0)),
    "a writable root on a CPU node": (
        "security",
        lambda m: _container(m)["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    "a machine's folder": ("security", lambda m: _pods(m)["volumes"][1].update(hostPath={"path": "/"})),
    "a token": ("security", lambda m: _pods(m).pop("automountServiceAccountToken")),
    "no memory limit": ("resources", lambda m: _container(m)["resources"]["limits"].pop("memory")),
    "an image by no tag": ("images", lambda m: _container(m).update(image="registry.example.org:5000/weir/cpu-node")),
    "replicas beside a scaler": ("scaling", lambda m: m.one("Deployment", "weir-pool-cpu")["spec"].update(replicas=2)),
    "a scaler of something else": (
        "scaling",
        lambda m: m.one("ScaledObject", "weir-pool-cpu")["spec"]["scaleTargetRef"].update(name="weir-cpu"),
    ),
    "a scaler that takes no metric for no load": (
        "scaling",
        lambda m: m.one("ScaledObject", "weir-pool-cpu")["spec"]["triggers"][0]["metadata"].pop("ignoreNullValues"),
    ),
    "a release that is mounted elsewhere": (
        "mounts",
        lambda m: _container(m)["volumeMounts"][-1].update(mountPath="/releases/tox/2"),
    ),
    "a ConfigMap by another name": ("mounts", _volume),
    "no way from the gateway to a node": ("network", lambda m: _without_egress(m, "http")),
    "no way into a node": (
        "network",
        lambda m: m.one("NetworkPolicy", "weir-pool-gpu")["spec"]["ingress"].pop(0),
    ),
    "no way for Prometheus": (
        "network",
        lambda m: m.one("NetworkPolicy", "weir-gateway")["spec"]["ingress"].pop(1),
    ),
    "no DNS": ("network", lambda m: m.one("NetworkPolicy", "weir-gateway")["spec"]["egress"].pop(0)),
    "no way to the database": ("network", lambda m: _without_egress(m, 5432)),
    "no way to the collector": ("network", lambda m: _without_egress(m, 4318)),
    "a node's way to the collector": (
        "network",
        lambda m: m.one("NetworkPolicy", "weir-pool-cpu")["spec"].pop("egress"),
    ),
    "a policy of another pod": (
        "network",
        lambda m: m.one("NetworkPolicy", "weir-pool-cpu")["spec"]["podSelector"]["matchLabels"].update(
            {"weir/pool": "gpu"}
        ),
    ),
    "no default": ("network", lambda m: m.things.remove(m.one("NetworkPolicy", "weir-deny"))),
    "a node in another namespace": (
        "names",
        lambda m: m.one("Deployment", "weir-pool-cpu")["metadata"].update(namespace="default"),
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_mistake_is_noticed(what: str) -> None:
    by, spoil = SPOILED[what]
    spoiled = manifests_of(FULL).changed()
    spoil(spoiled)
    found = problems_in(spoiled)
    assert any(problem.startswith(f"{by}: ") for problem in found), found or "nothing was found"


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("Deployment", "weir-pool-cpu", lambda spec: spec.update(replica=1)),
        ("ServiceMonitor", "weir-gateway", lambda spec: spec["endpoints"][0].update(targetport=1)),
        ("ServiceMonitor", "weir-gateway", lambda spec: spec.pop("selector")),
        ("PodMonitor", "weir-nodes", lambda spec: spec["podMetricsEndpoints"][0].update(interval=15)),
        ("ScaledObject", "weir-pool-cpu", lambda spec: spec.update(minReplicas=1)),
        ("ScaledObject", "weir-pool-cpu", lambda spec: spec.update(minReplicaCount="1")),
        ("ScaledObject", "weir-pool-cpu", lambda spec: spec["triggers"][0]["metadata"].update(threshold=12)),
        ("ScaledObject", "weir-pool-cpu", lambda spec: spec.pop("scaleTargetRef")),
    ],
)
def test_a_field_that_no_cluster_knows_is_noticed(kind: str, name: str, change: Any) -> None:
    thing = manifests_of(FULL).changed().one(kind, name)
    change(thing["spec"])
    assert schema_problems(thing, VERSIONS[-1])


def test_canary_objects_are_checked_as_strictly() -> None:
    m = manifests_of(CANARY).changed()
    m.one("Rollout", "weir-gateway")["spec"]["strategy"]["canary"]["steps"][0]["setWeigth"] = 1
    m.one("HTTPRoute", "weir-gateway")["spec"]["rules"][0]["backendRefs"][0]["port"] = "http"
    m.one("AnalysisTemplate", "weir-gateway")["spec"]["metrics"][0]["successcondition"] = ""
    for kind in ("Rollout", "HTTPRoute", "AnalysisTemplate"):
        assert schema_problems(m.one(kind, "weir-gateway"), VERSIONS[-1]), kind
