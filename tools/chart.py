"""Keeps helm/weir in step with what it is made of: settings classes, grafana/, and its own schema.

    python tools/chart.py            writes; tests/contract/test_chart.py checks that nothing would change

- `values.schema.json`: the definitions of settings, from the classes that will read them.
- `README.md`: the table of values, from the schema and `values.yaml`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from weir.cpu_node.settings import NodeSettings
from weir.gateway.settings import GatewaySettings
from weir.triton_node.settings import TritonSettings

CHART = Path(__file__).resolve().parents[1] / "helm" / "weir"
# What the chart itself sets, or takes from a Secret.
COMPUTED: dict[str, tuple[type[BaseModel], dict[str, set[str]]]] = {
    "gatewaySettings": (
        GatewaySettings,
        {
            "": {
                "home",
                "host",
                "port",
                "nodes",
                "nodes_file",
                "resolve_interval_s",
                "releases",
                "guard",
                "drain_timeout_s",
                "drain_delay_s",
            },
            "edge": {"workers", "admin_host", "admin_port"},
            "second_tier": {"url", "model"},
            "tracing": {"headers"},
            "access": {"database", "redis", "allow_anonymous", "admin_token", "audit_key_file"},
        },
    ),
    "nodeSettings": (
        NodeSettings,
        {"": {"home", "host", "port", "model_repository", "drain_timeout_s"}, "tracing": {"headers"}},
    ),
    "tritonSettings": (TritonSettings, {"": {"release"}}),
}
BEGIN, END = "<!-- values: tools/chart.py writes this table -->", "<!-- end of values -->"
_KEPT = (
    "type", "description", "enum", "const", "pattern", "items", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "anyOf", "properties", "required",
    "additionalProperties",
)  # fmt: skip

Schema = dict[str, Any]


def settings_schema(settings: type[BaseModel], computed: dict[str, set[str]]) -> Schema:
    """Return what an operator may set of `settings` in the chart's values."""
    whole = settings.model_json_schema()
    plain = _plain(whole, whole.get("$defs", {}))
    for part, names in computed.items():
        place = plain["properties"][part] if part else plain
        for name in names:
            place["properties"].pop(name, None)
            place["properties"].pop(f"weir_gateway_{name}", None)
            place["properties"].pop(f"weir_node_{name}", None)
        place.pop("required", None)
        if part and not place["properties"]:
            del plain["properties"][part]
    return plain


def _plain(node: Any, parts: Schema) -> Any:
    """Without references, titles and defaults: Helm 3 reads draft 7, and defaults are the classes' own."""
    if isinstance(node, list):
        return [_plain(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    if {"type": "null"} in node.get("anyOf", []):  # in values null takes a key away
        (node,) = [{**choice, **_beside(node)} for choice in node["anyOf"] if choice != {"type": "null"}]
    if "$ref" in node:
        target = parts[node["$ref"].rpartition("/")[2]]
        return _plain({**target, **_beside(node)}, parts)
    kept = {key: _plain(node[key], parts) for key in _KEPT if key in node and key != "properties"}
    if "properties" in node:
        kept["properties"] = {name: _plain(value, parts) for name, value in node["properties"].items()}
        kept["additionalProperties"] = False
    return kept


def _beside(node: Schema) -> Schema:
    return {key: value for key, value in node.items() if key not in {"$ref", "anyOf", "default"}}


def schema_text(schema: Schema) -> str:
    definitions = schema["definitions"] | {name: settings_schema(*made) for name, made in COMPUTED.items()}
    return json.dumps({**schema, "definitions": definitions}, indent=2, ensure_ascii=False) + "\n"


def readme_text(old: str, schema: Schema, values: Schema) -> str:
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = [f"| `{name}` | {default} | {text} |" for name, default, text in _rows("", schema, values, schema)]
    table = "\n".join(["| value | default | what it is |", "|---|---|---|", *rows])
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def _rows(prefix: str, node: Schema, values: Any, schema: Schema) -> Iterator[tuple[str, str, str]]:
    for name, part in _resolved(node, schema).get("properties", {}).items():
        full, known = f"{prefix}{name}", _resolved(part, schema)
        value = values.get(name) if isinstance(values, dict) else None
        below = known.get("additionalProperties")
        if known.get("properties") and full != "global":
            yield from _rows(f"{full}.", known, value, schema)
        elif isinstance(below, dict) and "$ref" in below:
            yield full, _shown(value), known.get("description", "")
            example = _resolved(below, schema)
            example = _resolved(example.get("else", example), schema)
            if name == "models":  # those of `pools` are in `poolDefaults`
                yield from _rows(f"{full}.NAME.", example, None, schema)
        else:
            yield full, _shown(value), known.get("description", "").replace("|", "\\|")


def _resolved(node: Schema, schema: Schema) -> Schema:
    """The node with what it refers to; its own description wins."""
    for reference in [node, *node.get("allOf", [])]:
        if "$ref" in reference:
            target = schema["definitions"][reference["$ref"].rpartition("/")[2]]
            return {**_resolved(target, schema), **{key: node[key] for key in ("description",) if key in node}}
    return node


def _shown(value: Any) -> str:
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def written(chart: Path = CHART) -> dict[Path, str]:
    """Return what each generated file should hold."""
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    text = schema_text(schema)
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    readme = chart / "README.md"
    old = readme.read_text(encoding="utf-8")
    return {chart / "values.schema.json": text, readme: readme_text(old, json.loads(text), values)}


def main() -> int:
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
