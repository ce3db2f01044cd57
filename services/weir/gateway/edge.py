"""The gateway's connections: their limits, their names, and how a request is refused that no route has seen."""

from typing import Final
from urllib.parse import urlsplit

from weir.asgi.connection import ConnectionFactory
from weir.asgi.cycle import Response
from weir.asgi.hosts import Hosts, is_loopback
from weir.asgi.limits import ConnectionLimits
from weir.asgi.types import Scope
from weir.contracts.errors import WeirError
from weir.gateway.app import GatewayApp
from weir.gateway.pages import ANY_ORIGIN, origin_of
from weir.gateway.settings import GatewaySettings
from weir.gateway.surfaces.base import Surface
from weir.gateway.surfaces.openai import ChatSurface
from weir.gateway.surfaces.tgi import TgiSurface
from weir.gateway.surfaces.triton import TritonSurface

_OPENAI: Surface = ChatSurface()
_TGI: Surface = TgiSurface("/generate")
_TRITON: Surface = TritonSurface("/v2/models/{model}/generate")
_CURE: Final = "have it ask for keys (`weir keys create NAME`), or name the page's origin in `edge.origins`"
_ADMIN_CURE: Final = "set `edge.admin_host`"


def connections(app: GatewayApp, limits: ConnectionLimits) -> ConnectionFactory:
    """Return what uvicorn is given as its `http` protocol."""
    refused = app.service.metrics.refused_early

    def told(error: WeirError, scope: Scope) -> Response:
        """Refuse, and let the page that asked read why, if it may read answers."""
        response, origin = refusal(error, scope), origin_of(scope)
        if origin is None:
            return response
        return response._replace(headers=[*response.headers, *app.pages.headers_for(origin)])

    return ConnectionFactory(told, limits, lambda code: refused(code).inc(), _hosts(app))


def admin_connections(settings: GatewaySettings) -> ConnectionFactory:
    """As `connections`, of the admin port: on loopback its metrics are for this machine, with keys or without."""
    is_local = is_loopback(settings.edge.admin_host)
    return ConnectionFactory(refusal, hosts=Hosts((), cure=_ADMIN_CURE) if is_local else None)


def refusal(error: WeirError, scope: Scope) -> Response:
    """Put `error` into the form of the API that was meant."""
    path: str = scope["path"]
    surface = _OPENAI if path.startswith("/v1/") else _TRITON if path.startswith("/v2/") else _TGI
    return Response(*surface.error(error))


def _hosts(app: GatewayApp) -> Hosts | None:
    """Return the names to answer under where anybody is served because only this machine is meant to reach it."""
    settings = app.settings
    origins = settings.edge.origins
    if settings.access.allow_anonymous or ANY_ORIGIN in origins or not is_loopback(settings.host):
        return None
    named = [name for origin in origins if (name := urlsplit(origin).hostname)]
    return Hosts(named, cure=_CURE, hold=lambda: not app.access.keyring.needs_key)
