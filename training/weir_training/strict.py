"""Strict YAML: pydantic models that forbid unknown keys, and errors that say where and what was meant."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from weir.contracts.errors import UsageError


class Strict(BaseModel):
    """Base of every internal YAML form."""

    model_config = ConfigDict(frozen=True, extra="forbid")


M = TypeVar("M", bound=BaseModel)


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        UsageError: missing, unreadable, not YAML (with line and column) or not a mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UsageError(f"{path}{where}: not YAML: {error.problem}") from error
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: expected a mapping at the top, found {type(tree).__name__}")
    return tree


def parse(model: type[M], tree: dict[str, Any], *, source: str) -> M:
    """Validate `tree`; report every fault at once, unknown keys with the nearest known one.

    Raises:
        UsageError: with one line per fault.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [f"{source}: {_line(model, fault)}" for fault in error.errors()]
        raise UsageError("\n".join(lines)) from error


def _line(model: type[BaseModel], fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "(top)"
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault['msg']}"
    *parents, key = fault["loc"]
    known = _known_keys(model, parents)
    near = get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
    return f"{where}: unknown key; {hint}"


def _known_keys(model: type[BaseModel], parents: list[str | int]) -> list[str]:
    current = model
    for part in parents:
        field = current.model_fields.get(str(part))
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            continue
        current = inner
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
