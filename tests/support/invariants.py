"""What holds of every rendering of the chart, whatever its values. Each function returns what is wrong, in words."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tests.support.manifests import Manifests, PodKind, Thing, component, config_maps_of
from tests.support.network_policies import missing_edges

_STABLE_LABELS: Final = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "weir/pool",
}
_SLACK_S: Final = 10  # a gateway's supervisor waits so long beyond the drain before it kills a worker


def problems_in(manifests: Manifests) -> list[str]:
    return [f"{check.__name__}: {problem}" for check in CHECKS for problem in _found(check, manifests)]


def _found(check: Callable[[Manifests], Iterator[str]], manifests: Manifests) -> Iterator[str]:
    try:
        yield from check(manifests)
    except (AssertionError, LookupError) as error:  # what it looks at is not there
        yield str(error)


def names(m: Manifests) -> Iterator[str]:
    counted = Counter((thing["kind"], thing["metadata"]["name"]) for thing in m.things)
    yield from (f"{kind}/{name} twice" for (kind, name), count in counted.items() if count > 1)
    for thing in m.things:
        if thing["metadata"].get("namespace") != m.namespace:
            yield f"{_of(thing)} is in another namespace"
        if len(thing["metadata"]["name"]) > 63:
            yield f"{_of(thing)}: longer than 63 characters"


def selectors(m: Manifests) -> Iterator[str]:
    """What selects pods finds some; a workload its own and nothing else's."""
    for pod in m.pods:
        if not pod.serves:
            continue
        chosen = pod.of["spec"]["selector"]["matchLabels"]
        if [found.name for found in m.selected(pod.of["spec"]["selector"])] != [pod.name]:
            yield f"{pod.name}: its selector finds {[found.name for found in m.selected(pod.of['spec']['selector'])]}"
        if not set(chosen) <= _STABLE_LABELS:
            yield f"{pod.name}: {sorted(set(chosen) - _STABLE_LABELS)} would change with an upgrade"
    yield from _idle_selectors(m)
    for pod in m.pods:
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if pod.name not in [found.name for found in m.selected(spread["labelSelector"])]:
                yield f"{pod.name}: spreads over other pods"


def _idle_selectors(m: Manifests) -> Iterator[str]:
    for thing in m.of("Service", "PodDisruptionBudget", "PodMonitor"):
        if not m.selected(thing["spec"]["selector"]):
            yield f"{_of(thing)} selects nothing"
    for thing in m.of("ServiceMonitor"):
        if not m.services(thing["spec"]["selector"]["matchLabels"]):
            yield f"{_of(thing)} selects nothing"


def ports(m: Manifests) -> Iterator[str]:
    """Every port that something names is there."""
    for pod in m.pods:
        if len(set(pod.ports.values())) != len(pod.ports):
            yield f"{pod.name}: a port twice"
        for container in pod.spec["containers"]:
            for kind, probe in _probes(container).items():
                if probe["httpGet"]["port"] not in pod.ports:
                    yield f"{pod.name}: {kind} asks port {probe['httpGet']['port']}"
    yield from _service_ports(m)
    yield from _monitored_ports(m)
    yield from _backends(m)


def _service_ports(m: Manifests) -> Iterator[str]:
    for service in m.of("Service"):
        for port in service["spec"]["ports"]:
            for pod in m.selected(service["spec"]["selector"]):
                if port["targetPort"] not in pod.ports:
                    yield f"{_of(service)}: {pod.name} has no port {port['targetPort']}"
                elif service["spec"].get("clusterIP") == "None" and port["port"] != pod.ports[port["targetPort"]]:
                    yield f"{_of(service)}: headless, so {port['port']} must be {pod.ports[port['targetPort']]}"


def _monitored_ports(m: Manifests) -> Iterator[str]:
    for monitor in m.of("ServiceMonitor"):
        for service in m.services(monitor["spec"]["selector"]["matchLabels"]):
            known = {port["name"] for port in service["spec"]["ports"]}
            for endpoint in monitor["spec"]["endpoints"]:
                if endpoint["port"] not in known:
                    yield f"{_of(monitor)}: {_of(service)} has no port {endpoint['port']}"
    for monitor in m.of("PodMonitor"):
        pods = m.selected(monitor["spec"]["selector"])
        scraped = [end["port"] for end in monitor["spec"]["podMetricsEndpoints"]]
        for port in scraped:
            if not any(port in pod.ports for pod in pods):
                yield f"{_of(monitor)}: no pod has a port {port}"
        for pod in pods:
            if metrics_port(pod) not in scraped:
                yield f"{_of(monitor)}: {pod.name} is not scraped"


def _backends(m: Manifests) -> Iterator[str]:
    for route in m.of("HTTPRoute"):
        for backend in [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]:
            service = m.host_of(backend["name"])
            if service is None or backend["port"] not in [port["port"] for port in service["spec"]["ports"]]:
                yield f"{_of(route)}: no {backend['name']}:{backend['port']}"
    for ingress in m.of("Ingress"):
        for path in [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]:
            backend = path["backend"]["service"]
            service = m.host_of(backend["name"])
            if service is None or backend["port"]["name"] not in [port["name"] for port in service["spec"]["ports"]]:
                yield f"{_of(ingress)}: no {backend['name']}:{backend['port']['name']}"


def metrics_port(pod: PodKind) -> str | None:
    """The name of the port that has `/metrics`; none: the pod has none."""
    if component(pod) == "gateway":
        return "admin"
    if component(pod) == "node":
        return "metrics" if "metrics" in pod.ports else "http"
    return None


def probes(m: Manifests) -> Iterator[str]:
    """One question for all three would kill pods for being busy."""
    for pod in m.pods:
        if not pod.serves:
            continue
        found = _probes(pod.spec["containers"][0])
        if set(found) != {"startupProbe", "livenessProbe", "readinessProbe"}:
            yield f"{pod.name}: only {sorted(found)}"
        elif len({probe["httpGet"]["path"] for probe in found.values()}) != 3:
            yield f"{pod.name}: two probes ask the same"


def security(m: Manifests) -> Iterator[str]:
    """Pod Security Standards, `restricted`; and no rights on the API."""
    for pod in m.pods:
        of_pod = pod.spec.get("securityContext", {})
        if of_pod.get("runAsNonRoot") is not True or of_pod.get("runAsUser", 0) == 0:
            yield f"{pod.name}: may run as root"
        if of_pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.name}: no seccomp profile"
        if pod.spec.get("automountServiceAccountToken") is not False or pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.name}: a token or service links"
        if any(pod.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pod.name}: shares the machine"
        allowed = {"configMap", "emptyDir", "secret", "persistentVolumeClaim", "image"}
        for volume in pod.spec.get("volumes", []):
            if not set(volume) - {"name"} <= allowed:
                yield f"{pod.name}: volume {volume['name']} is of a kind that `restricted` forbids"
        for container in pod.containers:
            yield from (f"{pod.name}: {container['name']}: {what}" for what in _loose(pod, container))


def _loose(pod: PodKind, container: Thing) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain rights"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True and not _has_gpu(pod):
        yield "can write to its root"


def _has_gpu(pod: PodKind) -> bool:
    return any("/" in name for c in pod.spec["containers"] for name in c["resources"].get("limits", {}))


def resources(m: Manifests) -> Iterator[str]:
    for pod in m.pods:
        for container in pod.containers:
            given = container.get("resources", {})
            if not {"cpu", "memory"} <= set(given.get("requests", {})) or "memory" not in given.get("limits", {}):
                yield f"{pod.name}: {container['name']} does not say what it needs"


def images(m: Manifests) -> Iterator[str]:
    for pod in m.pods:
        for container in pod.containers:
            name = container["image"].rpartition("/")[2]
            if container["image"].endswith(":latest") or not re.search(r":[\w.-]+$|@sha256:[0-9a-f]{64}$", name):
                yield f"{pod.name}: {container['image']} may be another one tomorrow"


def leaving(m: Manifests) -> Iterator[str]:
    """SIGKILL comes after everything that a process was told it may take."""
    for pod in m.pods:
        if not pod.serves:
            continue
        grace_s = pod.spec["terminationGracePeriodSeconds"]
        needed_s = needed_to_leave_s(m, pod)
        if grace_s < needed_s + _SLACK_S:
            yield f"{pod.name}: {grace_s} s of grace, {needed_s} s to leave"
        if component(pod) == "node" and _pre_stop_s(pod) <= 0:
            yield f"{pod.name}: refuses before the gateway knows"


def needed_to_leave_s(m: Manifests, pod: PodKind) -> float:
    container = pod.spec["containers"][0]
    if container["command"] == ["tritonserver"]:
        words = [word for word in container["args"] if word.startswith("--exit-timeout-secs=")]
        return _pre_stop_s(pod) + int(words[0].partition("=")[2])
    settings = m.settings(pod)
    return _pre_stop_s(pod) + float(settings["drain_timeout_s"]) + float(settings.get("drain_delay_s", 0))


def _pre_stop_s(pod: PodKind) -> float:
    hook = pod.spec["containers"][0].get("lifecycle", {}).get("preStop", {})
    return float(hook.get("sleep", {}).get("seconds", 0))


def scaling(m: Manifests) -> Iterator[str]:
    """One scaler per workload, no replicas beside it, and no hurry to scale down."""
    targets = Counter(_target(thing) for thing in m.of("HorizontalPodAutoscaler", "ScaledObject"))
    yield from (f"{'/'.join(target)} has {count} scalers" for target, count in targets.items() if count > 1)
    for kind, name in targets:
        if not m.has(kind, name):
            yield f"nothing to scale: {kind}/{name}"
    for pod in m.pods:
        if pod.serves and ("replicas" in pod.of["spec"]) == ((pod.of["kind"], pod.of["metadata"]["name"]) in targets):
            yield f"{pod.name}: replicas and a scaler, or neither"
    yield from _hasty(m)


def _hasty(m: Manifests) -> Iterator[str]:
    for thing in m.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = next((pod for pod in m.pods if pod.name == "/".join(_target(thing))), None)
        grace_s = target.spec["terminationGracePeriodSeconds"] if target else 0
        if _behavior(thing)["scaleDown"]["stabilizationWindowSeconds"] < min(grace_s, 3600):
            yield f"{_of(thing)}: scales down before what left is gone"
    for thing in m.of("ScaledObject"):
        for trigger in thing["spec"]["triggers"]:
            if not trigger["metadata"]["query"].startswith("sum(") or "fallback" not in thing["spec"]:
                yield f"{_of(thing)}: more than one result, or no fallback"
            if trigger["metadata"].get("ignoreNullValues") != "false":
                yield f"{_of(thing)}: takes a missing metric for no load"


def _target(thing: Thing) -> tuple[str, str]:
    target = thing["spec"]["scaleTargetRef"]
    return target["kind"], target["name"]


def _behavior(thing: Thing) -> Mapping[str, Any]:
    if thing["kind"] == "HorizontalPodAutoscaler":
        return dict(thing["spec"]["behavior"])
    return dict(thing["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"])


def mounts(m: Manifests) -> Iterator[str]:
    """Volumes and mounts belong together, and what a command names is mounted."""
    for pod in m.pods:
        volumes = [volume["name"] for volume in pod.spec.get("volumes", [])]
        used = [mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])]
        if len(set(volumes)) != len(volumes) or set(volumes) != set(used):
            yield f"{pod.name}: volumes {sorted(volumes)}, mounts of {sorted(set(used))}"
        for container in pod.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            if len(set(paths)) != len(paths):
                yield f"{pod.name}: two mounts at one place"
        for name in config_maps_of(pod):
            if name.startswith("weir-") and not m.has("ConfigMap", name):
                yield f"{pod.name}: there is no ConfigMap {name}"
        yield from _unmounted(m, pod)


def _unmounted(m: Manifests, pod: PodKind) -> Iterator[str]:
    if not pod.serves:
        return
    container = pod.spec["containers"][0]
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    wanted = [word for word in container["args"] if word.startswith("/models/")]
    if component(pod) == "gateway":
        wanted += m.settings(pod)["releases"]
    for path in wanted:
        if path not in paths:
            yield f"{pod.name}: {path} is not mounted"


def network(m: Manifests) -> Iterator[str]:
    if m.of("NetworkPolicy"):
        yield from missing_edges(m)


CHECKS: Final[tuple[Callable[[Manifests], Iterator[str]], ...]] = (
    names,
    selectors,
    ports,
    probes,
    security,
    resources,
    images,
    leaving,
    scaling,
    mounts,
    network,
)


def _probes(container: Thing) -> dict[str, Thing]:
    return {kind: container[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe") if kind in container}


def _of(thing: Thing) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"
