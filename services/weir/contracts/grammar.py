"""Forms that an answer can be held to, token by token."""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from weir.contracts.frozen import Frozen

MAX_GRAMMAR_CHARS = 65_536
Choice = Annotated[str, Field(min_length=1, max_length=1_024)]


def _as_text(schema: Any) -> Any:
    """A schema may come as an object; what is kept is its text, since a frozen value holds no dictionary."""
    if isinstance(schema, dict):
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return schema


SchemaText = Annotated[str, BeforeValidator(_as_text), Field(min_length=2, max_length=MAX_GRAMMAR_CHARS)]


class JsonSchema(Frozen):
    """JSON that is valid under a schema, which is an object or its text."""

    type: Literal["json_schema"] = "json_schema"
    schema_text: SchemaText = Field(repr=False)


class JsonObject(Frozen):
    """Any JSON object."""

    type: Literal["json_object"] = "json_object"


class Regex(Frozen):
    """Text that a regular expression matches as a whole; no look-around, no back-references."""

    type: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1, max_length=8_192, repr=False)


class OneOf(Frozen):
    """One of these texts."""

    type: Literal["choice"] = "choice"
    choices: tuple[Choice, ...] = Field(min_length=1, max_length=256, repr=False)


Grammar = Annotated[JsonSchema | JsonObject | Regex | OneOf, Field(discriminator="type")]
