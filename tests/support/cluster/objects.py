"""Kubernetes objects as dictionaries, and the few questions that the cluster asks of them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def name_of(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def is_hook(thing: Object) -> bool:
    return "helm.sh/hook" in thing["metadata"].get("annotations", {})


def labels_of(thing: Object) -> dict[str, str]:
    return dict(thing["metadata"].get("labels") or {})


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Say whether a LabelSelector (or a Service's plain one) takes these labels; an empty selector takes all."""
    if selector is None:
        return False
    if not any(key in selector for key in ("matchLabels", "matchExpressions")):
        return all(labels.get(key) == value for key, value in selector.items())
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(k) == v for k, v in wanted.items()) and all(
        _holds(each, labels) for each in selector.get("matchExpressions") or []
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"no such operator: {expression['operator']}")


def quantity(text: object) -> float:
    """Read a resource quantity: bytes or cores."""
    found = re.fullmatch(r"([0-9.]+)(m|[kMG]|[KMGT]i)?", str(text))
    if found is None:
        raise ValueError(f"no quantity: {text!r}")
    unit = found[2] or ""
    return float(found[1]) / 1000 if unit == "m" else float(found[1]) * _UNITS[unit]


def port_number(pod_spec: Object, port: int | str, container: Object | None = None) -> int | None:
    """Resolve a port's name within a pod (or one container); a number is itself, an unknown name None."""
    if isinstance(port, int):
        return port
    containers = [container] if container is not None else pod_spec["containers"]
    for each in containers:
        for known in each.get("ports") or []:
            if known.get("name") == port:
                return int(known["containerPort"])
    return None
