"""Services and NetworkPolicies as nftables rules. Source: the Kubernetes API's own words on both."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.cluster.objects import Object, name_of, port_number, selects


@dataclass(frozen=True, slots=True)
class PodAddress:
    """What rules need to know of a pod."""

    address: str
    namespace: str
    labels: dict[str, str]
    spec: Object
    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Balance:
    """One port of a service that has an address: where its connections go."""

    address: str
    port: int
    targets: tuple[tuple[str, int], ...]


def balances(services: Sequence[Object], addresses: dict[str, str], pods: Sequence[PodAddress]) -> list[Balance]:
    """Return where each port of each service with an address leads: ready pods only."""
    found = []
    for service in services:
        if service["spec"].get("clusterIP") == "None" or not service["spec"].get("selector"):
            continue
        ready = [pod for pod in pods if pod.is_ready and selects(service["spec"]["selector"], pod.labels)]
        for port in service["spec"]["ports"]:
            numbers = [(pod.address, port_number(pod.spec, port.get("targetPort", port["port"]))) for pod in ready]
            targets = tuple((address, number) for address, number in numbers if number is not None)
            found.append(Balance(addresses[name_of(service)], port["port"], targets))
    return found


def render(found: Sequence[Balance], policies: Sequence[Object], pods: Sequence[PodAddress], namespace: str) -> str:
    """Write the whole table: balancing before routing, policies (all of `namespace`) where packets are forwarded."""
    lines = ["table ip weir {", " chain services {", "  type nat hook prerouting priority dstnat;"]
    lines += [_balance(each) for each in found if each.targets]
    lines += [" }", " chain flows {", "  type filter hook forward priority filter;"]
    # A policy stops new connections; what runs keeps running, as in most network plug-ins.
    lines += ["  ct state established,related accept"]
    # An address without a ready pod refuses at once, as kube-proxy does.
    lines += [f"  ip daddr {each.address} tcp dport {each.port} reject" for each in found if not each.targets]
    chains: list[str] = []
    for pod in pods:
        for direction, ours, theirs in (("Ingress", "daddr", "saddr"), ("Egress", "saddr", "daddr")):
            matching = [
                policy
                for policy in policies
                if pod.namespace == namespace
                and selects(policy["spec"]["podSelector"], pod.labels)
                and direction in _types(policy)
            ]
            if matching:
                chain = f"{direction.lower()}_{pod.address.replace('.', '_')}"
                lines.append(f"  ip {ours} {pod.address} jump {chain}")
                chains += [
                    f" chain {chain} {{",
                    *_allowed(matching, direction, theirs, pod, pods, namespace),
                    "  drop",
                    " }",
                ]
    return "\n".join([*lines, " }", *chains, "}"]) + "\n"


def _balance(each: Balance) -> str:
    spread = ", ".join(f"{n} : {address} . {port}" for n, (address, port) in enumerate(each.targets))
    chosen = f"numgen random mod {len(each.targets)} map {{ {spread} }}"
    return f"  ip daddr {each.address} tcp dport {each.port} dnat to {chosen}"


def _types(policy: Object) -> list[str]:
    given = policy["spec"].get("policyTypes")
    return list(given) if given else ["Ingress", *(["Egress"] if "egress" in policy["spec"] else [])]


def _allowed(
    policies: Sequence[Object], direction: str, theirs: str, pod: PodAddress, pods: Sequence[PodAddress], namespace: str
) -> list[str]:
    lines = []
    for policy in policies:
        for rule in policy["spec"].get(direction.lower()) or []:
            peers = rule.get("from" if direction == "Ingress" else "to")
            places = (
                [""] if not peers else [f"ip {theirs} {place} " for place in _places(peers, theirs, pods, namespace)]
            )
            lines += [
                f"  {place}{port}return" for place in places for port in _ports(rule.get("ports"), direction, pod, pods)
            ]  # `return`: the other pod's chain has a say too
    return lines


def _places(peers: Sequence[Object], theirs: str, pods: Sequence[PodAddress], namespace: str) -> list[str]:
    places: list[str] = []
    for peer in peers:
        if block := peer.get("ipBlock"):
            without = ", ".join(block.get("except") or [])
            places.append(block["cidr"] + (f" ip {theirs} != {{ {without} }}" if without else ""))
            continue
        spaces = peer.get("namespaceSelector", {"kubernetes.io/metadata.name": namespace})
        places += [
            pod.address
            for pod in pods
            if selects(spaces, {"kubernetes.io/metadata.name": pod.namespace})
            and selects(peer.get("podSelector", {}), pod.labels)
        ]
    return places


def _ports(ports: Sequence[Object] | None, direction: str, pod: PodAddress, pods: Sequence[PodAddress]) -> list[str]:
    if not ports:
        return [""]
    # A name means the port of the pod that is called.
    called = [pod] if direction == "Ingress" else pods
    found = []
    for port in ports:
        protocol = str(port.get("protocol", "TCP")).lower()
        if "port" not in port:
            found.append(f"meta l4proto {protocol} ")
            continue
        numbers = {port_number(each.spec, port["port"]) for each in called} - {None}
        found += [f"{protocol} dport {number} " for number in sorted(n for n in numbers if n is not None)]
    return found
