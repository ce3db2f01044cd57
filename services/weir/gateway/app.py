"""Composition root: a thin ASGI dispatcher in front of a FastAPI app, over one service."""

import asyncio
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from weir import __version__
from weir.asgi.types import Receive, Scope, Send
from weir.backends.base import Backend
from weir.backends.classifier import Classifier, HttpClassifier
from weir.backends.http_node import HttpNode
from weir.contracts.errors import UsageError
from weir.gateway.access import Access
from weir.gateway.accounting import Accounts
from weir.gateway.admission.door import Admission
from weir.gateway.admission.policy import Bounds
from weir.gateway.api import create_api
from weir.gateway.catalog import Catalog
from weir.gateway.exchange import Exchange
from weir.gateway.findings import Seal
from weir.gateway.guards import Guards
from weir.gateway.idempotency import Attempts
from weir.gateway.preparation import Preparation
from weir.gateway.response_cache import ResponseCache
from weir.gateway.routes import SURFACES, Routes
from weir.gateway.second_tier import SecondTier
from weir.gateway.service import GenerationService
from weir.gateway.settings import GatewaySettings, NodeSettings
from weir.guard.compiled import CompiledGuard
from weir.guard.policy import default_policy, load_policy
from weir.routing.node import Node
from weir.routing.router import Router
from weir.telemetry.metrics import GatewayMetrics

_FOLD_S: Final = 0.2


class GatewayApp:
    """The ASGI app. POSTs on a surface's path never enter FastAPI, which costs four times the work."""

    def __init__(self, service: GenerationService, settings: GatewaySettings, access: Access) -> None:
        self.service = service
        self.settings = settings
        self.access = access
        attempts = Attempts(service.metrics)
        self._routes = Routes(
            Exchange(surface, service, settings.max_body_bytes, settings.body_timeout_s, attempts, access)
            for surface in SURFACES
        )
        self._api = create_api(service, SURFACES, max_in_flight=settings.max_in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST" and (exchange := self._routes.find(scope["path"])):
            await exchange(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.access.start()
        await self.service.router.start()
        folding = asyncio.create_task(self._keep_folding())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        folding.cancel()
        await asyncio.gather(folding, return_exceptions=True)
        await self.service.router.aclose()
        if self.service.second_tier is not None:
            await self.service.second_tier.aclose()
        await self.access.aclose()
        self.service.metrics.fold()
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep_folding(self) -> None:
        """Count what no generation brings with it: refusals, for instance. Other processes read the metrics."""
        while True:
            await asyncio.sleep(_FOLD_S)
            self.service.metrics.fold()


def create_app(settings: GatewaySettings) -> GatewayApp:
    """Build the app that `settings` describe.

    Raises:
        ReleaseError: a release is refused.
        UsageError: the guard policy is refused, or nobody has a key and the address is public.
        StoreError: the database cannot be reached.
    """
    guard = CompiledGuard.build(default_policy() if settings.guard is None else load_policy(settings.guard))
    catalog = Catalog.from_releases(settings.releases)
    default = catalog.default.name
    pools = {node.name: node.pool for node in settings.nodes}
    backends = [_backend(node, default) for node in settings.nodes]
    metrics = GatewayMetrics(CollectorRegistry())
    access = Access.open(settings.access, metrics, home=settings.home, host=settings.host)
    return assemble(settings, catalog, guard, backends, metrics=metrics, pools=pools, access=access)


def _backend(node: NodeSettings, model: str) -> Backend:
    if not node.url.startswith("grpc"):
        return HttpNode(node.name, node.url, model)
    try:
        # Here: gRPC and its numpy are large, and few gateways need them.
        from weir.backends.grpc_node import GrpcNode
        from weir.backends.tensorrt_llm import SCHEME, TensorRtLlmNode
    except ModuleNotFoundError as error:
        raise UsageError(f"a grpc:// node needs {error.name}: pip install 'weir[triton-nodes]'") from None
    scheme, _, address = node.url.partition("://")
    kind = TensorRtLlmNode if scheme == SCHEME else GrpcNode
    return kind(node.name, address.rstrip("/"), model)


def _second_tier(
    settings: GatewaySettings, classifier: Classifier | None, metrics: GatewayMetrics, seal: Seal | None
) -> SecondTier | None:
    chosen = settings.second_tier
    if chosen is None:
        return None
    return SecondTier(classifier or HttpClassifier(chosen.url, chosen.model), chosen, metrics, seal)


def assemble(  # noqa: PLR0913 - a composition root
    settings: GatewaySettings,
    catalog: Catalog,
    guard: CompiledGuard,
    backends: Sequence[Backend],
    *,
    metrics: GatewayMetrics,
    pools: dict[str, str] | None = None,
    access: Access | None = None,
    classifier: Classifier | None = None,
) -> GatewayApp:
    """Build the app from ready-made parts; without `access` everybody may ask and nothing is written down."""
    access = access or Access.without_store(metrics)
    metrics.set_build(__version__)
    guards = Guards(guard, metrics, access.journal.seal if access.journal.with_audit else None)
    nodes = [Node(backend, metrics, pool=(pools or {}).get(backend.name, "cpu")) for backend in backends]
    service = GenerationService(
        catalog=catalog,
        preparation=Preparation(metrics, guards.seal),
        accounts=Accounts(metrics, access.ledger),
        cache=ResponseCache(settings.cache_mb << 20, metrics),
        admission=Admission(
            metrics,
            Bounds(running=settings.max_in_flight, waiting=settings.max_queue, tokens=settings.max_tokens),
            queue_timeout_s=settings.queue_timeout_s,
        ),
        router=Router(nodes, metrics, probe_interval_s=settings.probe_interval_s),
        guards=guards,
        metrics=metrics,
        timeout_s=settings.node_timeout_s,
        second_tier=_second_tier(settings, classifier, metrics, guards.seal),
    )
    return GatewayApp(service, settings, access)
