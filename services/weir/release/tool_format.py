"""How a release's chat template has a model write tool calls."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from weir.contracts.request import Tool


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """A call is a JSON object with `name` and `arguments` between two marks.

    A template that holds `opening` is taken to speak this format; another format is another entry of `TOOL_FORMATS`.
    """

    name: str
    opening: str
    closing: str

    @property
    def begun(self) -> str:
        """What a call begins with, up to its JSON."""
        return self.opening + "\n"

    def call_schema(self, tools: Sequence[Tool]) -> str:
        """Return the JSON schema that a call of one of `tools` fulfils, arguments included."""
        return json.dumps({"anyOf": [_call(number, tool) for number, tool in enumerate(tools)]}, ensure_ascii=False)


HERMES: Final = ToolFormat("hermes", "<tool_call>", "</tool_call>")  # Hermes 2 Pro, Qwen 2.5, Qwen 3
TOOL_FORMATS: Final = (HERMES,)


def tool_format_of(template: str) -> ToolFormat | None:
    """Return the format that a chat template that reads `tools` asks for; none: it is not known."""
    return next((known for known in TOOL_FORMATS if known.opening in template), None)


def _call(number: int, tool: Tool) -> dict[str, Any]:
    inside = f"#/anyOf/{number}/properties/arguments"
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": _moved(json.loads(tool.parameters), inside)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, inside: str) -> Any:
    """Return the schema with its references to itself pointing to where it now stands."""
    if isinstance(schema, list):
        return [_moved(item, inside) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _reference(value, inside) if key == "$ref" else _moved(value, inside) for key, value in schema.items()}


def _reference(value: Any, inside: str) -> Any:
    return inside + value[1:] if isinstance(value, str) and value.startswith("#") else _moved(value, inside)
