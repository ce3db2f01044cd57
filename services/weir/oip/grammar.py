"""How a caller of the node asks for a grammar, in vLLM's words."""

from collections.abc import Callable, Mapping
from typing import Any

from weir.contracts.errors import ValidationError

_KINDS = ("json", "regex", "choice", "json_object")
_OLDER = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice"}
NAMES = frozenset({"structured_outputs", *_OLDER})


def read_grammar(sampling: Mapping[str, Any], named: Callable[[str], str] = str) -> tuple[str, dict[str, Any] | None]:
    """Return the field that the grammar stands in, and the grammar as `SamplingParams` takes it; none: not asked for.

    `named` makes the path of a field that a caller is told.

    Raises:
        ValidationError: more than one grammar, none in the object, or a kind that there is not.
    """
    found = [(name, kind, sampling[name]) for name, kind in _OLDER.items() if sampling.get(name) is not None]
    given = sampling.get("structured_outputs")
    if given is not None:
        found += _structured(given, named("structured_outputs"))
    if not found:
        return named("structured_outputs"), None
    if len(found) > 1:
        field = named(found[1][0])
        raise ValidationError(f"{field}: one grammar at most", field)
    name, kind, value = found[0]
    return named(name), _grammar(kind, value, named(name))


def _structured(given: Any, field: str) -> list[tuple[str, str, Any]]:
    if not isinstance(given, dict):
        raise ValidationError(f"{field}: an object is needed", field)
    found = [(f"structured_outputs.{kind}", kind, given[kind]) for kind in _KINDS if given.get(kind) is not None]
    if given.get("json_object") is False:
        found.pop()
    if not found:
        raise ValidationError(f"{field}: one of {', '.join(_KINDS)} is needed", field)
    return found


def _grammar(kind: str, value: Any, field: str) -> dict[str, Any]:
    if kind == "json_object":
        if value is not True:
            raise ValidationError(f"{field}: true is needed", field)
        return {"type": "json_object"}
    if kind == "json":
        return {"type": "json_schema", "schema_text": value}
    if kind == "regex":
        return {"type": "regex", "pattern": value}
    return {"type": "choice", "choices": value}
