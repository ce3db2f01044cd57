"""JSON merge patches and Kubernetes' strategic ones, of the types that the chart makes."""

from typing import Any, Final

# Lists whose entries are merged by a key; all others are replaced.
_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port"),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey",),
}


def merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply an RFC 7396 patch to `old`, in place; return it."""
    for key, value in patch.items():
        if value is None:
            old.pop(key, None)
        elif isinstance(value, dict) and isinstance(old.get(key), dict):
            merged(old[key], value)
        else:
            old[key] = value
    return old


def strategically_merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a strategic merge patch to `old`, in place; return it."""
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if (kept := patch.get("$retainKeys")) is not None:
        for key in [key for key in old if key not in kept]:
            del old[key]
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            old.pop(key, None)
        elif isinstance(value, dict):
            old[key] = strategically_merged(old.get(key) or {}, value)
        elif isinstance(value, list) and key in _KEYS and isinstance(old.get(key), list):
            old[key] = _merged_list(old[key], value, _KEYS[key], patch.get(f"$setElementOrder/{key}"))
        else:
            old[key] = value
    return old


def _merged_list(old: list[Any], patch: list[Any], keys: tuple[str, ...], order: list[Any] | None) -> list[Any]:
    entries = {_key(entry, keys): entry for entry in old}
    for change in patch:
        key = _key(change, keys)
        if change.get("$patch") == "delete":
            entries.pop(key, None)
        else:
            entries[key] = strategically_merged(entries.get(key, {}), change)
    places = [_key(entry, keys) for entry in order or []]
    return sorted(entries.values(), key=lambda e: places.index(_key(e, keys)) if _key(e, keys) in places else -1)


def _key(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next(entry[key] for key in keys if key in entry)
