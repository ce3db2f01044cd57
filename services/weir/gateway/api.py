"""Everything but the hot routes: information, health, models, documentation."""

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from weir import __version__
from weir.contracts.errors import UnknownModelError
from weir.gateway.api_triton import triton_router
from weir.gateway.information import openai_model, openai_models, tgi_info
from weir.gateway.openapi import document
from weir.gateway.service import GenerationService
from weir.gateway.surfaces.base import Surface
from weir.gateway.surfaces.openai_documents import Model, ModelList, OpenAIError
from weir.gateway.surfaces.openai_errors import error_object
from weir.gateway.surfaces.tgi_documents import TgiError, TgiInfo

_UNHEALTHY = {"error": "unhealthy", "error_type": "healthcheck"}
_TEXT: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_NO_BODY: dict[str, Any] = {"description": "a request would be taken", "content": {}}
_WORD: dict[str, Any] = {"type": "string"}
_STATUS, _READY = (
    {"content": {"application/json": {"schema": {"type": "object", "required": ["status"], "properties": properties}}}}
    for properties in ({"status": _WORD}, {"status": _WORD, "models_without_node": {"type": "array", "items": _WORD}})
)


def create_api(service: GenerationService, surfaces: Sequence[Surface], *, max_in_flight: int) -> FastAPI:
    """Build the FastAPI app; `surfaces` appear in its documentation, the dispatcher answers them.

    The pages of `/docs` load nothing from elsewhere: their scripts come with fastapi_offline.
    """
    api = FastAPIOffline(
        title="Weir gateway",
        version=__version__,
        redoc_url=None,
        static_url="/docs-assets",
        swagger_ui_parameters={"validatorUrl": None},
    )
    for router in (
        _probes(service),
        _tgi(api, service, max_in_flight),
        _models(service),
        triton_router(service),
    ):
        api.include_router(router)
    api.add_exception_handler(HTTPException, _plain_errors(surfaces))
    document(api, surfaces)
    return api


def _probes(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/startupz", summary="Releases are read and nodes were asked", responses={200: _STATUS})
    async def startupz() -> Response:
        return JSONResponse({"status": "started"})  # nothing is accepted before

    @router.get("/livez", summary="The process answers", responses={200: _STATUS})
    async def livez() -> Response:
        return JSONResponse({"status": "live"})

    @router.get(
        "/readyz",
        summary="A node is ready for the default model and the gateway is not shutting down",
        responses={200: _READY, 503: _READY | {"description": "no node is ready, or the gateway is shutting down"}},
    )
    async def readyz() -> Response:
        away, default = service.router.away, service.catalog.default.name
        state = "draining" if service.is_leaving else "no node is ready" if default in away else "ready"
        body: dict[str, Any] = {"status": state}
        if away and len(service.catalog.models) > 1:
            body["models_without_node"] = away
        return JSONResponse(body, 200 if service.is_ready else 503)

    return router


def _tgi(api: FastAPI, service: GenerationService, max_in_flight: int) -> APIRouter:
    router = APIRouter(tags=["TGI"])

    async def health() -> Response:
        return Response(status_code=200) if service.is_ready else JSONResponse(_UNHEALTHY, 503)

    responses: dict[int | str, dict[str, Any]] = {
        200: _NO_BODY,
        503: {"model": TgiError, "description": "no node is ready, or the gateway is shutting down"},
    }
    for path in ("/", "/health", "/ping"):
        summary = "Empty when a request would be taken"
        router.get(path, summary=summary, response_class=Response, responses=responses)(health)

    @router.get(
        "/info", summary="The default model, its limits, where it comes from", responses={200: {"model": TgiInfo}}
    )
    async def info() -> Response:
        return JSONResponse(tgi_info(service.catalog.default, max_in_flight, service.router.nodes))

    @router.get("/api-doc/openapi.json", summary="This document, where TGI has it")
    async def openapi_document() -> Response:
        return JSONResponse(api.openapi())

    return router


def _models(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.get("/v1/models", summary="The models", responses={200: {"model": ModelList}})
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": openai_models(service.catalog, service.embeddings)})

    @router.get(
        "/v1/models/{name:path}",
        summary="One model",
        responses={200: {"model": Model}, 404: {"model": OpenAIError, "description": "there is no such model"}},
    )
    async def model(name: str) -> Response:
        if not name:
            return await models()
        try:
            return JSONResponse(openai_model(service.catalog, service.embeddings, name))
        except UnknownModelError as error:
            return JSONResponse(error_object(error), error.status)

    return router


def _plain_errors(surfaces: Sequence[Surface]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return what answers 404 and 405; the paths of `surfaces`, which FastAPI does not know, take POST alone."""
    posts = re.compile("|".join(re.sub(r"\{\w+\}", "[^/]+", surface.path) for surface in surfaces))

    async def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code == HTTPStatus.NOT_FOUND and posts.fullmatch(request.url.path):
            error = HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "POST"})
        return _plain_error(request, error)

    return answer


def _plain_error(request: Request, error: HTTPException) -> Response:
    """Put an error into the form of the API that was meant."""
    message = f"{error.detail}: {request.method} on this path"
    if request.url.path.startswith("/v1/"):
        body: dict[str, Any] = {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        }
    elif request.url.path.startswith("/v2/"):
        body = {"error": message}
    else:
        body = {"error": message, "error_type": "not_found" if error.status_code == 404 else "validation"}
    return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))
