"""Everything but the hot routes: information, health, models, metrics, documentation."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from weir import __version__
from weir.contracts.errors import UnknownModelError
from weir.gateway.catalog import Catalog, ServedModel
from weir.gateway.service import GenerationService
from weir.gateway.surfaces.base import Surface
from weir.gateway.surfaces.openai_errors import error_object
from weir.gateway.surfaces.openai_wire import model_and_adapter

_MAX_STOPS = 16
_UNHEALTHY = {"error": "unhealthy", "error_type": "healthcheck"}


def create_api(service: GenerationService, surfaces: Sequence[Surface], *, max_in_flight: int) -> FastAPI:
    """Build the FastAPI app; `surfaces` appear in its documentation, the dispatcher answers them."""
    api = FastAPI(title="Weir gateway", version=__version__, redoc_url=None)
    _add_probes(api, service)
    _add_tgi(api, service, max_in_flight)
    _add_models(api, service)
    api.add_exception_handler(HTTPException, _plain_error)
    _document(api, surfaces)
    return api


def _add_probes(api: FastAPI, service: GenerationService) -> None:
    @api.get("/livez", tags=["operation"], summary="The process answers")
    async def livez() -> dict[str, str]:
        return {"status": "live"}

    @api.get("/readyz", tags=["operation"], summary="A node is ready and the gateway is not shutting down")
    async def readyz() -> Response:
        state = "draining" if service.is_leaving else "ready" if service.router.is_ready else "no node is ready"
        return JSONResponse({"status": state}, 200 if service.is_ready else 503)

    @api.get("/metrics", tags=["operation"], summary="Prometheus metrics")
    async def metrics() -> Response:
        # In a thread: rendering some hundred histograms would stop every stream for as long.
        body = await asyncio.to_thread(generate_latest, service.metrics.registry)
        return Response(body, media_type=CONTENT_TYPE_LATEST)


def _add_tgi(api: FastAPI, service: GenerationService, max_in_flight: int) -> None:
    async def health() -> Response:
        return Response(status_code=200) if service.is_ready else JSONResponse(_UNHEALTHY, 503)

    for path in ("/", "/health", "/ping"):
        api.get(path, tags=["TGI"], summary="Empty when a request would be taken")(health)

    @api.get("/info", tags=["TGI"], summary="The default model and its limits")
    async def info() -> dict[str, Any]:
        return _info(service.catalog.default, max_in_flight)


def _info(model: ServedModel, max_in_flight: int) -> dict[str, Any]:
    return {
        "model_id": model.name,
        "model_sha": None,
        "model_pipeline_tag": "text-generation",
        "model_version": model.version,
        "max_concurrent_requests": max_in_flight,
        "max_best_of": 1,
        "max_stop_sequences": _MAX_STOPS,
        "max_input_tokens": model.context_tokens - 1,
        "max_total_tokens": model.context_tokens,
        "validation_workers": 1,
        "max_client_batch_size": 1,
        "router": "weir",
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }


def _add_models(api: FastAPI, service: GenerationService) -> None:
    @api.get("/v1/models", tags=["OpenAI"], summary="The models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [entry for model in service.catalog.models for entry in _entries(model)]}

    @api.get("/v1/models/{name:path}", tags=["OpenAI"], summary="One model")
    async def model(name: str) -> Response:
        try:
            return JSONResponse(_entry_of(service.catalog, name))
        except UnknownModelError as error:
            return JSONResponse(error_object(error), error.status)


def _entry_of(catalog: Catalog, name: str) -> dict[str, Any]:
    asked = model_and_adapter(name)
    model, adapter = catalog.resolve(asked["model"]), asked.get("adapter")
    entries = _entries(model)
    found = next((entry for entry in entries if adapter is None or entry["id"] == f"{model.name}:{adapter}"), None)
    if found is None:
        raise UnknownModelError("this gateway does not serve the model that was asked for")
    return found


def _entries(model: ServedModel) -> list[dict[str, Any]]:
    """Return the model, then its adapters as models of their own, `model:adapter`."""
    whole = _model(model)
    return [whole, *({**whole, "id": f"{model.name}:{name}", "parent": model.name} for name in model.adapters)]


def _model(model: ServedModel) -> dict[str, Any]:
    created = int(model.prompts.manifest.created.timestamp())
    return {
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": "weir",
        "version": model.version,
        "max_model_len": model.context_tokens,
    }


async def _plain_error(request: Request, error: Exception) -> Response:
    """Answer 404 and 405 in the form of the API that was meant."""
    if not isinstance(error, HTTPException):
        raise error
    message = f"{error.detail}: {request.method} on this path"
    if request.url.path.startswith("/v1/"):
        body: dict[str, Any] = {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        }
    else:
        body = {"error": message, "error_type": "not_found" if error.status_code == 404 else "validation"}
    return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))


def _document(api: FastAPI, surfaces: Sequence[Surface]) -> None:
    """Add the hot routes, which FastAPI never sees, to the OpenAPI schema."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = get_openapi(title=api.title, version=api.version, routes=api.routes)
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            for surface in surfaces:
                body = surface.body_model.model_json_schema(ref_template="#/components/schemas/{model}")
                components.update(body.pop("$defs", {}))
                components[surface.body_model.__name__] = body
                schema["paths"].setdefault(surface.path, {})["post"] = _operation(surface)
            api.openapi_schema = schema
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _operation(surface: Surface) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{surface.body_model.__name__}"}
    return {
        "summary": surface.summary,
        "tags": ["OpenAI" if surface.path.startswith("/v1/") else "TGI"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        "responses": {
            "200": {"description": "the answer", "content": {"application/json": {}, "text/event-stream": {}}},
            "422": {"description": "the request must change"},
            "429": {"description": "overloaded; see Retry-After"},
            "503": {"description": "no node is ready; see Retry-After"},
        },
    }
