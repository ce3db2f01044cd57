"""What is wrong with a policy: `file: rule 'id': reason`, never a term, a pattern or an example."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

import pydantic
from pydantic import BaseModel

from weir.contracts.errors import UsageError

_OLD_FIELDS = {
    "input": "rules are one list now: write `rules: [{id: …, direction: [input], …}]`",
    "output": "rules are one list now: write `rules: [{id: …, direction: [output], …}]`",
    "detect": "write `packs: [pii-common]`, which finds e-mail addresses, or give a regex",
}
_WORDS = {
    "model_type": "should be a mapping: `field: value`",
    "string_type": "should be text: put it in quotes",
    "tuple_type": "should be a list",
}
_NAMED = {"rules": "rule", "lists": "list", "answers": "answer rule"}


class PolicyError(UsageError):
    """A policy is refused. The message is the first fault; `faults` are all that were seen."""

    def __init__(self, faults: Sequence[str]) -> None:
        more = len(faults) - 1
        super().__init__(faults[0] + (f" (and {more} more; `weir guard check` lists them)" if more else ""))
        self.faults = tuple(faults)


def nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def faults_of(error: pydantic.ValidationError, model: type[BaseModel], raw: object, file: str) -> list[str]:
    """Spell pydantic's errors in the words of the file, each fault once."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = (f"{file}: {_place(raw, fault['loc'])}{_reason(model, fault)}" for fault in faults)
    return list(dict.fromkeys(lines))


def _place(raw: object, location: Sequence[int | str]) -> str:
    """Spell a location with ids instead of positions: `rule 'key': examples: `."""
    parts = [str(part) for part in location]
    if len(location) >= 2 and location[0] in _NAMED and isinstance(location[1], int) and isinstance(raw, Mapping):
        parts = [_entry(_NAMED[str(location[0])], raw[location[0]], location[1]), *parts[2:]]
    return ": ".join(parts) + ": " if parts else ""


def _entry(kind: str, entries: Any, index: int) -> str:
    entry = entries[index]
    named = isinstance(entry, Mapping) and isinstance(entry.get("id"), str)
    return f"{kind} {entry['id']!r}" if named else f"{kind} number {index + 1}"


def _reason(model: type[BaseModel], fault: Mapping[str, Any]) -> str:
    if fault["type"] != "extra_forbidden":
        return _WORDS.get(fault["type"], str(fault["msg"]).removeprefix("Value error, "))
    *parents, name = fault["loc"]
    if name in _OLD_FIELDS:
        return f"no such field any more: {_OLD_FIELDS[name]}"
    return "no such field" + nearest(str(name), _fields_at(model, parents))


def _fields_at(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """Return what the mapping at `location` may hold; a part that is no field is a key or an index: one goes on."""
    here: type[BaseModel] | None = model
    for part in location:
        fields = {} if here is None else _fields(here)
        if part in fields:
            here = _model_in(fields[str(part)])
    return [] if here is None else list(_fields(here))


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
