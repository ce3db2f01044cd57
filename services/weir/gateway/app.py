"""Composition root: a thin ASGI dispatcher in front of a FastAPI app, over one service."""

import asyncio
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from weir import __version__
from weir.asgi.types import Receive, Scope, Send
from weir.backends.classifier import Classifier, HttpClassifier
from weir.backends.connecting import connect
from weir.backends.embedder import Embedder, HttpEmbedder
from weir.backends.traced import TracedBackend
from weir.gateway.access import Access
from weir.gateway.accounting import Accounts
from weir.gateway.admission.door import Admission
from weir.gateway.admission.policy import Bounds
from weir.gateway.admission.sizing import Sizing
from weir.gateway.api import create_api
from weir.gateway.catalog import Catalog
from weir.gateway.choices import Choices
from weir.gateway.embedder_releases import labels_of, read_embedders
from weir.gateway.embedding import Embeddings
from weir.gateway.exchange import Exchange
from weir.gateway.findings import Seal
from weir.gateway.guards import Guards
from weir.gateway.idempotency import Attempts
from weir.gateway.nodes import NodeList
from weir.gateway.pages import Pages, is_from_page
from weir.gateway.preparation import Preparation
from weir.gateway.pulse import Pulse
from weir.gateway.response_cache import ResponseCache
from weir.gateway.routes import SURFACES, Routes
from weir.gateway.second_tier import SecondTier
from weir.gateway.service import GenerationService
from weir.gateway.settings import GatewaySettings
from weir.gateway.tracing import traced
from weir.guard.compiled import CompiledGuard
from weir.guard.policy import default_policy, load_policy
from weir.routing.discovery import NodeSpec
from weir.routing.embedders import EmbedderNodes
from weir.routing.node import Node
from weir.routing.router import Router
from weir.telemetry.metrics import GatewayMetrics
from weir.telemetry.tracing import Tracing, open_tracing


class GatewayApp:
    """The ASGI app. POSTs on a surface's path never enter FastAPI, which costs four times the work."""

    def __init__(
        self, service: GenerationService, settings: GatewaySettings, access: Access, tracing: Tracing | None = None
    ) -> None:
        self.service = service
        self.settings = settings
        self.access = access
        self.nodes: NodeList | None = None  # none: those that it was made with are all
        self._tracing = tracing
        attempts = Attempts(service.metrics)
        self._routes = Routes(
            Exchange(surface, service, settings.max_body_bytes, settings.body_timeout_s, attempts, access)
            for surface in SURFACES
        )
        self._api = create_api(service, SURFACES, max_in_flight=settings.max_in_flight)
        self.pages = Pages(self._answer, settings.edge.origins, lambda: access.keyring.needs_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and is_from_page(scope):
            await self.pages(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and (exchange := self._routes.find(scope["path"])):
            if self._tracing is None:
                await exchange(scope, receive, send)
            else:
                await traced(self._tracing, exchange.surface.path, exchange, scope, receive, send)
        else:
            # What there is to GET there is to HEAD (RFC 9110); the connection keeps the body back, as this is a copy.
            is_head = scope["type"] == "http" and scope["method"] == "HEAD"
            await self._api({**scope, "method": "GET"} if is_head else scope, receive, send)

    def _sizing(self) -> Sizing:
        fleet, interval_s = self.service.router.fleet, self.settings.probe_interval_s
        return Sizing(lambda: fleet.slots, self.service.admission, interval_s=interval_s)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.access.start()
        if self.nodes is not None:
            await self.nodes.settle(self.service.router)
        await self.service.router.start()
        await self.service.embeddings.start()
        sizing = self._sizing()
        sizing.look()
        tasks = [asyncio.create_task(Pulse(self.service.metrics).beat()), asyncio.create_task(sizing.follow())]
        if self.nodes is not None:
            tasks.append(asyncio.create_task(self.nodes.watch(self.service.router)))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.service.router.aclose()
        await self.service.embeddings.aclose()
        if self.service.second_tier is not None:
            await self.service.second_tier.aclose()
        await self.access.aclose()
        self.service.metrics.fold()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: GatewaySettings) -> GatewayApp:
    """Build the app that `settings` describe.

    Raises:
        ReleaseError: a release is refused.
        UsageError: the guard policy or the list of nodes is refused, or nobody has a key and the address is public.
        StoreError: the database cannot be reached.
    """
    metrics = GatewayMetrics(CollectorRegistry())
    nodes = NodeList(settings.nodes, settings.nodes_file, metrics, interval_s=settings.resolve_interval_s)
    guard = CompiledGuard.build(default_policy() if settings.guard is None else load_policy(settings.guard))
    catalog = Catalog.from_releases(settings.releases, Choices(settings.home))
    tracing = open_tracing(settings.tracing, "weir-gateway", __version__)
    default, *others = [model.name for model in catalog.models]

    def make(spec: NodeSpec) -> Node:
        metrics.know_node(spec.name, spec.pool)
        backend = connect(spec.name, spec.url, default, others=others, metrics_port=spec.metrics_port)
        traced = backend if tracing is None else TracedBackend(backend, tracing)
        return Node(traced, metrics, pool=spec.pool, flavour=spec.flavour)

    access = Access.open(settings.access, metrics, home=settings.home, host=settings.host)
    app = assemble(settings, catalog, guard, nodes.first(make), metrics=metrics, access=access, tracing=tracing)
    app.nodes = nodes
    return app


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
    nodes: Sequence[Node],
    *,
    metrics: GatewayMetrics,
    access: Access | None = None,
    classifier: Classifier | None = None,
    tracing: Tracing | None = None,
    embedder: Callable[[str, str, int], Embedder] = HttpEmbedder,
) -> GatewayApp:
    """Build the app from ready-made parts; without `access` everybody may ask and nothing is written down.

    `embedder` makes who asks a node for vectors, of its URL, the model's name and its version.
    """
    access = access or Access.without_store(metrics)
    metrics.set_build(__version__)
    metrics.set_config(settings.digest)
    for surface in SURFACES:
        metrics.in_flight(surface.path)  # 0 is said, too: an autoscaler takes silence for a fault
    guards = Guards(guard, metrics, access.journal.seal if access.journal.with_audit else None)
    for node in nodes:
        metrics.know_node(node.name, node.pool)
    accounts = Accounts(metrics, access.ledger, tracing)
    second_tier = _second_tier(settings, classifier, metrics, guards.seal)
    embedder_nodes = EmbedderNodes(metrics, probe_interval_s=settings.probe_interval_s, connect=embedder)
    models = read_embedders(settings.embedders_at_nodes, embedder_nodes)
    metrics.set_models((*catalog.labels, *labels_of(models)))
    offer, *others = catalog.offers
    service = GenerationService(
        catalog=catalog,
        preparation=Preparation(metrics, guards.seal),
        accounts=accounts,
        cache=ResponseCache(settings.cache_mb << 20, metrics),
        admission=Admission(
            metrics,
            Bounds(running=settings.max_in_flight, waiting=settings.max_queue, tokens=settings.max_tokens),
            queue_timeout_s=settings.queue_timeout_s,
        ),
        router=Router(nodes, metrics, probe_interval_s=settings.probe_interval_s, offer=offer, others=others),
        guards=guards,
        metrics=metrics,
        timeout_s=settings.node_timeout_s,
        embeddings=Embeddings(models, embedder_nodes, accounts, guards, metrics, second_tier),
        second_tier=second_tier,
    )
    return GatewayApp(service, settings, access, tracing)
