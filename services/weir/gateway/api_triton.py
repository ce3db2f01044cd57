"""The Open Inference Protocol's GET routes: is the server, is a model there, and what is it."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from weir import __version__
from weir.contracts.errors import UnknownModelError
from weir.gateway.catalog import ServedModel
from weir.gateway.service import GenerationService
from weir.gateway.surfaces.triton_documents import ModelMetadata, ServerMetadata, TritonError
from weir.oip.metadata import model_metadata

_YES: dict[str, Any] = {"description": "yes", "content": {}}
_NO: dict[str, Any] = {"description": "no", "content": {}}
_UNKNOWN: dict[str, Any] = {"model": TritonError, "description": "there is no such model, or no such version"}
_MODEL = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")


def triton_router(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["Triton"])

    @router.get("/v2", summary="The server", responses={200: {"model": ServerMetadata}})
    async def server() -> Response:
        return JSONResponse({"name": "weir", "version": __version__, "extensions": ["generate"]})

    @router.get("/v2/health/live", summary="The process answers", response_class=Response, responses={200: _YES})
    async def live() -> Response:
        return Response()

    @router.get(
        "/v2/health/ready",
        summary="A request would be taken",
        response_class=Response,
        responses={200: _YES, 503: _NO},
    )
    async def ready() -> Response:
        return Response(status_code=200 if service.is_ready else 503)

    _add_models(router, service)
    return router


def _add_models(router: APIRouter, service: GenerationService) -> None:
    async def metadata(model: str, version: str | None = None) -> Response:
        try:
            found = _found(service, model, version)
        except UnknownModelError as error:
            return JSONResponse({"error": str(error)}, error.status)
        return JSONResponse(model_metadata(found.name, found.version, "weir", of_node=False))

    async def ready(model: str, version: str | None = None) -> Response:
        try:
            found = _found(service, model, version)
        except UnknownModelError as error:
            return JSONResponse({"error": str(error)}, error.status)
        return Response(status_code=200 if service.is_ready_for(found.name) else 503)

    for path in _MODEL:
        described: dict[int | str, dict[str, Any]] = {200: {"model": ModelMetadata}, 404: _UNKNOWN}
        router.get(path, summary="One model", responses=described)(metadata)
        is_ready: dict[int | str, dict[str, Any]] = {200: _YES, 404: _UNKNOWN, 503: _NO}
        router.get(f"{path}/ready", summary="A request would be taken", response_class=Response, responses=is_ready)(
            ready
        )


def _found(service: GenerationService, name: str, version: str | None) -> ServedModel:
    model = service.catalog.resolve(name)
    if version is not None and version != str(model.version):
        raise UnknownModelError("this gateway does not serve the version that was asked for")
    return model
