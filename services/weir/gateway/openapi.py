"""The OpenAPI document: FastAPI's own routes, and the hot ones that never enter it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from weir.gateway.documents import BY_PATH, Documented
from weir.gateway.surfaces.base import Surface

_REFERENCE = "#/components/schemas/{model}"
_RETRY_AFTER = {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
_REQUEST_ID = {"description": "the caller's own if harmless, else a new one", "schema": {"type": "string"}}


def document(api: FastAPI, surfaces: Sequence[Surface], described: Mapping[str, Documented] = BY_PATH) -> None:
    """Make `api` answer with a document of its own routes and of `surfaces`; it is made once, at the first call."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _whole(api, surfaces, described)
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _whole(api: FastAPI, surfaces: Sequence[Surface], described: Mapping[str, Documented]) -> dict[str, Any]:
    schema = get_openapi(title=api.title, version=api.version, routes=api.routes, description=api.description)
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own form; no route of this app can say it
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    models = [(surface.body_model, "validation") for surface in surfaces]
    for entry in described.values():
        answers = (entry.answer, entry.error, *entry.alternatives, *([entry.event] if entry.event else []))
        models += [(model, "serialization") for model in answers if model is not None]
    components |= _components(models)
    for surface in surfaces:
        schema["paths"].setdefault(surface.path, {})["post"] = _operation(surface, described[surface.path])
    return schema


def _components(models: Sequence[tuple[type[BaseModel], str]]) -> dict[str, Any]:
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation" if mode == "validation" else "serialization") for model, mode in dict.fromkeys(models)
    ]
    _, definitions = models_json_schema(modes, ref_template=_REFERENCE)
    return dict(definitions["$defs"])


def _operation(surface: Surface, entry: Documented) -> dict[str, Any]:
    body = {"schema": _reference(surface.body_model), "example": dict(entry.example)}
    operation: dict[str, Any] = {
        "operationId": "post_" + surface.path.strip("/").replace("/", "_").replace("{", "").replace("}", ""),
        "summary": surface.summary,
        "tags": [entry.tag],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": _success(entry) | _failures(entry),
    }
    if names := [part[1:-1] for part in surface.path.split("/") if part.startswith("{")]:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return operation


def _success(entry: Documented) -> dict[str, Any]:
    if entry.answer is None:
        return {}
    one = _reference(entry.answer)
    schema: dict[str, Any] = {"type": "array", "items": one} if entry.in_array else {**one}
    if entry.alternatives:
        schema = {"anyOf": [schema, *map(_reference, entry.alternatives)]}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if entry.event is not None:
        content["text/event-stream"] = {
            "schema": {"type": "string", "description": "server-sent events; x-event-schema is of the data of each"},
            "x-event-schema": {"anyOf": [_reference(entry.event), _reference(entry.error)]},
        }
    return {"200": {"description": "the answer", "content": content, "headers": {"x-request-id": _REQUEST_ID}}}


def _failures(entry: Documented) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(entry.error)}}
    failures: dict[str, Any] = {}
    for status, words in sorted(entry.statuses.items()):
        failures[str(status)] = {"description": words, "content": content}
        if status in {429, 503}:
            failures[str(status)]["headers"] = {"Retry-After": _RETRY_AFTER}
    return failures


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
