"""Which connections the rendered NetworkPolicies let through, and which the installation needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from tests.support.manifests import Manifests, PodKind, Thing, component

_STORES: Final = {"WEIR_GATEWAY_ACCESS__DATABASE": 5432, "WEIR_GATEWAY_ACCESS__REDIS": 6379}


@dataclass(frozen=True)
class Outside:
    """Somebody in another namespace, whose name is a label; or, with no name, anywhere."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()


MONITORING: Final = Outside("monitoring")
DNS: Final = Outside("kube-system", (("k8s-app", "kube-dns"),))
ANYWHERE: Final = Outside()


def missing_edges(m: Manifests) -> Iterator[str]:
    """Return what is needed and not allowed, and pods that no policy shuts."""
    for pod in m.pods:
        if not (_policies(m, pod, "Ingress") and _policies(m, pod, "Egress")):
            yield f"{pod.name} is open to everything"
    for pod in m.pods:
        for host, port in _asked(m, pod):
            yield from _unreachable(m, pod, host, port)
        yield from _needs_outside(m, pod)
        if (port := _scraped_port(m, pod)) is not None and not comes_in(m, MONITORING, pod, port):
            yield f"Prometheus cannot reach {pod.name}:{port}"


def _needs_outside(m: Manifests, pod: PodKind) -> Iterator[str]:
    asks_by_name = any(True for _ in _asked(m, pod)) or bool(pod.spec.get("initContainers"))
    asks_by_name = asks_by_name or _collector_port(m, pod) is not None
    if asks_by_name and not goes_out(m, pod, DNS, 53, "UDP"):
        yield f"{pod.name} cannot ask the DNS"
    if (collector := _collector_port(m, pod)) is not None and not _goes_somewhere(m, pod, collector):
        yield f"{pod.name} cannot send its traces"
    for container in pod.containers:
        for variable in container.get("env", []):
            port = _STORES.get(variable["name"])
            if port is not None and not _goes_somewhere(m, pod, port):
                yield f"{pod.name} cannot reach {variable['name']}"
        if container["command"][:3] == ["weir", "releases", "fetch"] and not _goes_somewhere(m, pod, 443):
            yield f"{pod.name} cannot fetch"


def _unreachable(m: Manifests, pod: PodKind, host: str, port: int) -> Iterator[str]:
    service = m.host_of(host)
    if service is None:
        yield f"{pod.name}: no service {host}"
        return
    found = [known for known in service["spec"]["ports"] if known["port"] == port]
    if not found:
        yield f"{pod.name}: {host} has no port {port}"
        return
    for target in m.selected(service["spec"]["selector"]):
        number = target.port(found[0]["targetPort"])
        if number is None or not goes_out(m, pod, target, number) or not comes_in(m, pod, target, number):
            yield f"{pod.name} cannot reach {target.name}:{number}"


def _asked(m: Manifests, pod: PodKind) -> Iterator[tuple[str, int]]:
    """Hosts of the cluster, and ports, that a pod's process asks."""
    urls: list[str] = []
    if component(pod) == "gateway":
        settings = m.settings(pod)
        urls = [node["url"].removeprefix("dns+") for node in settings["nodes"]]
        if tier := settings.get("second_tier"):
            urls.append(tier["url"])
    if component(pod) == "test":
        words = [word.removeprefix("--url=") for word in pod.spec["containers"][0]["args"]]
        urls = [word for word in words if word.startswith("http://")]
    for url in urls:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        yield parts.hostname, parts.port


def _collector_port(m: Manifests, pod: PodKind) -> int | None:
    if not pod.serves or not any(word.startswith("--config=") for word in pod.spec["containers"][0]["args"]):
        return None
    tracing = m.settings(pod).get("tracing")
    return urlsplit(tracing["endpoint"]).port if tracing else None


def _scraped_port(m: Manifests, pod: PodKind) -> int | None:
    if component(pod) == "gateway":
        return pod.ports.get("admin")
    if component(pod) == "node":
        return pod.ports.get("metrics", pod.ports.get("http"))
    return None


def goes_out(m: Manifests, pod: PodKind, to: PodKind | Outside, port: int, protocol: str = "TCP") -> bool:
    rules = [rule for policy in _policies(m, pod, "Egress") for rule in policy["spec"].get("egress", [])]
    target = to if isinstance(to, PodKind) else None
    return any(_has_port(rule, port, protocol, target) and _has_peer(m, rule.get("to"), to) for rule in rules)


def comes_in(m: Manifests, source: PodKind | Outside, pod: PodKind, port: int) -> bool:
    rules = [rule for policy in _policies(m, pod, "Ingress") for rule in policy["spec"].get("ingress", [])]
    return any(_has_port(rule, port, "TCP", pod) and _has_peer(m, rule.get("from"), source) for rule in rules)


def _goes_somewhere(m: Manifests, pod: PodKind, port: int) -> bool:
    """To a place that the chart cannot know: any rule with the port will do."""
    rules = [rule for policy in _policies(m, pod, "Egress") for rule in policy["spec"].get("egress", [])]
    return any(_has_port(rule, port, "TCP", None) for rule in rules)


def _policies(m: Manifests, pod: PodKind, direction: str) -> list[Thing]:
    return [
        policy
        for policy in m.of("NetworkPolicy")
        if direction in policy["spec"]["policyTypes"]
        and pod.name in [found.name for found in m.selected(policy["spec"]["podSelector"])]
    ]


def _has_port(rule: Mapping[str, Any], port: int, protocol: str, pod: PodKind | None) -> bool:
    """A name means what the pod that is reached calls so."""
    if "ports" not in rule:
        return True
    for allowed in rule["ports"]:
        number = allowed["port"]
        if isinstance(number, str):
            number = None if pod is None else pod.ports.get(number)
        if number == port and allowed.get("protocol", "TCP") == protocol:
            return True
    return False


def _has_peer(m: Manifests, peers: list[Thing] | None, who: PodKind | Outside) -> bool:
    return not peers or any(_is_peer(m, peer, who) for peer in peers)


def _is_peer(m: Manifests, peer: Thing, who: PodKind | Outside) -> bool:
    if isinstance(who, PodKind):
        return "namespaceSelector" not in peer and who.name in [pod.name for pod in m.selected(peer["podSelector"])]
    if "namespaceSelector" not in peer:
        return False
    wanted = peer["namespaceSelector"].get("matchLabels", {})
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    return wanted.items() <= {"kubernetes.io/metadata.name": who.namespace}.items() and labels.items() <= set(
        who.labels
    )
