"""The gateway's connections: their limits, and how a request is refused that no route has seen."""

from collections.abc import Callable

from weir.asgi.connection import ConnectionFactory
from weir.asgi.cycle import Response
from weir.asgi.limits import ConnectionLimits
from weir.contracts.errors import WeirError
from weir.gateway.surfaces.base import Surface
from weir.gateway.surfaces.openai import ChatSurface
from weir.gateway.surfaces.tgi import TgiSurface

_OPENAI: Surface = ChatSurface()
_TGI: Surface = TgiSurface("/generate")


def connections(limits: ConnectionLimits, on_refused: Callable[[str], None]) -> ConnectionFactory:
    """Return what uvicorn is given as its `http` protocol."""
    return ConnectionFactory(refusal, limits, on_refused)


def refusal(error: WeirError, path: str) -> Response:
    """Put `error` into the form of the API that `path` belongs to."""
    surface = _OPENAI if path.startswith("/v1/") else _TGI
    return Response(*surface.error(error))
