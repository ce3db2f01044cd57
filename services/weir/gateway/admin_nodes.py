"""`GET /admin/nodes`: what the metrics say of each node. They are what workers share with the admin port."""

import re
from typing import Any, Final

_SAMPLE: Final = re.compile(
    r'^weir_gateway_(node_healthy|circuit_state|node_in_flight|node_pace)\{node="([^"]+)"\} (\S+)$'
)
_POOL: Final = re.compile(r'^weir_gateway_pool_nodes\{pool="([^"]+)",use="([^"]+)"\} (\S+)$')
_CIRCUITS: Final = ("closed", "half-open", "open")


def nodes_shown(exposition: str) -> dict[str, Any]:
    """Return the nodes and the pools that a text of Prometheus' tells of."""
    nodes: dict[str, dict[str, Any]] = {}
    pools: list[dict[str, Any]] = []
    for line in exposition.splitlines():
        if found := _SAMPLE.match(line):
            what, name, value = found[1], found[2], float(found[3])
            nodes.setdefault(name, {"name": name})[what.removeprefix("node_")] = _said(what, value)
        elif found := _POOL.match(line):
            pools.append({"pool": found[1], "use": found[2], "nodes": int(float(found[3]))})
    return {"nodes": [nodes[name] for name in sorted(nodes)], "pools": pools}


def _said(what: str, value: float) -> bool | int | float | str:
    match what:
        case "node_healthy":
            return value > 0
        case "circuit_state":
            return _CIRCUITS[int(value)]
        case "node_in_flight":
            return int(value)
        case _:
            return round(value, 2)
