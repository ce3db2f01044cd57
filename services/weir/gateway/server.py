"""Runs the gateway: binds, serves, and on SIGTERM drains before it leaves."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from weir.asgi.connection import ConnectionFactory
from weir.asgi.cycle import Response
from weir.asgi.limits import ConnectionLimits
from weir.asgi.listen import listen
from weir.asgi.types import App
from weir.backends.base import ManagedNode
from weir.backends.connecting import connect
from weir.gateway.access import warn_of_split_limits
from weir.gateway.admin import AdminApp, Handler, answer, answer_with
from weir.gateway.admin_keys import admin_keys
from weir.gateway.admin_models import AdminModels
from weir.gateway.admin_nodes import nodes_shown
from weir.gateway.app import GatewayApp, create_app
from weir.gateway.choices import Choices
from weir.gateway.edge import admin_connections, connections
from weir.gateway.nodes import nodes_now
from weir.gateway.reloading import Reloader
from weir.gateway.settings import GatewaySettings
from weir.gateway.workers import Roles, supervise
from weir.release.reader import MANIFEST
from weir.telemetry.cells import Cells, keep_values_in
from weir.telemetry.exposition import Exposition

_log = logging.getLogger(__name__)
_SWITCH_INTERVAL_S = 0.0005  # long prompts are prepared in threads, which must not hold up streams
_GC_THRESHOLDS = (10_000, 20, 50)
_LAST_CALL_S = 0.3  # for the first request of a connection that was taken just before
_LAST_WORDS_S = 2  # for connections that are idle or stuck once nothing is left to drain


Again = Callable[[], GatewaySettings]


def serve(settings: GatewaySettings, again: Again | None = None) -> int:
    """Serve until SIGINT or SIGTERM, then return the exit code. `again` reads the settings anew, for a reload.

    Raises:
        UsageError: a port is taken, or the guard policy is refused.
        ReleaseError: a release is refused.
    """
    listener = listen(settings.host, settings.port)
    admin = (
        listen(settings.edge.admin_host, settings.admin_port, option="--admin-port") if settings.admin_port else None
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read again
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _allow_many_files()
    warn_of_split_limits(settings.access, settings.home, workers=settings.edge.workers)
    if settings.edge.workers == 1:
        _serve_alone(settings, listener, admin, again)
        return 0
    roles = Roles(
        worker=lambda cells: _serve_worker(settings, listener, cells, again),
        admin=None
        if admin is None
        else lambda sources, departed: _serve_admin(settings, admin, Exposition(sources, departed)),
    )
    return supervise(roles, settings.edge.workers, patience_s=settings.drain_delay_s + settings.drain_timeout_s)


def _serve_alone(
    settings: GatewaySettings, listener: socket.socket, admin: socket.socket | None, again: Again | None
) -> None:
    cells = Cells()
    keep_values_in(cells)
    app = create_app(settings)
    server = DrainingServer(app, settings, again=again)
    if admin is None:
        uvloop.run(server.serve([listener]))
        return

    async def reload() -> Response:
        reason = await server.reload()
        return answer(200, status="applied") if reason is None else answer(422, error=reason, error_type="refused")

    exposition = Exposition([cells], fold=app.service.metrics.fold)
    beside = _admin_server(settings, exposition, reload)
    uvloop.run(_side_by_side(server.serve([listener]), beside, admin))


async def _side_by_side(serving: Coroutine[Any, Any, None], admin: "QuietServer", listener: socket.socket) -> None:
    """The admin port answers for as long as anything is served."""
    beside = asyncio.create_task(admin.serve([listener]))
    try:
        await serving
    finally:
        admin.should_exit = True
        await beside


def _serve_worker(settings: GatewaySettings, listener: socket.socket, cells: Cells, again: Again | None) -> None:
    keep_values_in(cells)
    server = DrainingServer(create_app(settings), settings, cells=cells, again=again)
    uvloop.run(server.serve([listener]))


def _serve_admin(settings: GatewaySettings, listener: socket.socket, exposition: Exposition) -> None:
    """Beside several workers a process of its own answers, so that they never notice a scrape."""

    async def reload() -> Response:
        os.kill(os.getppid(), signal.SIGHUP)  # the supervisor tells every worker
        return answer(202, status="every worker reads its files again; see weir_gateway_config_reloads_total")

    uvloop.run(_admin_server(settings, exposition, reload).serve([listener]))


def _admin_server(settings: GatewaySettings, exposition: Exposition, reload: Handler) -> "QuietServer":
    return QuietServer(_config(_admin_app(settings, exposition, reload), admin_connections(settings)))


def _admin_app(settings: GatewaySettings, exposition: Exposition, reload: Handler) -> AdminApp:
    """Compose the admin port; the same for one worker and for many."""

    async def nodes() -> Response:
        return answer_with(nodes_shown((await exposition.rendered()).decode()))

    routes = {("POST", "/admin/reload"): reload, ("GET", "/admin/nodes"): nodes}
    keys = admin_keys(settings.access, settings.home)
    models = AdminModels(partial(_managed, settings), partial(_choose, settings), reload, keys, keys.may)
    return AdminApp(exposition, routes, models, keys.may)


def _choose(settings: GatewaySettings, model: str, version: int) -> None:
    """Have the gateway speak for this version where its settings name the model's folder; a version's own stays it."""
    for root in settings.releases:
        if root.name == model and not (root / MANIFEST).is_file():
            Choices(settings.home).choose(root, version)


async def _managed(settings: GatewaySettings) -> list[ManagedNode]:
    """Connect to the nodes that there are now, to change what they serve."""
    key = "" if settings.repository_key is None else settings.repository_key.get_secret_value()
    found = await nodes_now(settings.nodes, settings.nodes_file)
    return [connect(node.name, node.url, "", repository_key=key) for node in found]


def _config(app: App, edge: ConnectionFactory, lifespan: Any = "off") -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=edge,  # type: ignore[arg-type]  # whatever makes protocols
        ws="none",
        lifespan=lifespan,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_WORDS_S,
    )


def _allow_many_files() -> None:
    """A connection is a file; the usual soft limit of 1,024 is less than one worker can serve."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class DrainingServer(uvicorn.Server):
    """On the first signal `/readyz` says 503 and running answers go on; a second one ends them.

    uvicorn alone would close its listener at once and exit with the signal's code. With `cells` this is one of several
    workers: Ctrl-C reaches it as well, but only its supervisor's SIGTERM counts.
    """

    def __init__(
        self, app: GatewayApp, settings: GatewaySettings, *, cells: Cells | None = None, again: Again | None = None
    ) -> None:
        limits = ConnectionLimits(body_timeout_s=settings.body_timeout_s)
        self._edge = connections(app, limits)
        super().__init__(_config(app, self._edge, "on"))
        self._app = app
        self._settings = settings
        self._cells = cells
        self._again = again
        self._signals = 0
        self._leaving_since: float | None = None
        self._last_call_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        if self._cells is not None and sig == signal.SIGINT:
            return
        self._signals += 1
        if self._signals > 1:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: the place where a signal turns into a drain."""
        if self._signals:
            self._drain()
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.reload = Reloader(self._app.service, self._settings.guard, self._app.nodes, self._again)
        loop = asyncio.get_running_loop()
        self._reloads: set[asyncio.Task[str | None]] = set()
        self._watching = asyncio.create_task(self.reload.watch())
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        await super().startup(sockets=sockets)
        gc.collect()
        gc.freeze()  # what is loaded stays; looking through it again and again would hold up streams
        gc.set_threshold(*_GC_THRESHOLDS)
        if self._cells is not None:
            self._cells.is_up = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._watching.cancel()
        await super().shutdown(sockets=sockets)

    def _reload_soon(self) -> None:
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    def _drain(self) -> None:
        service, settings = self._app.service, self._settings
        if self._leaving_since is None:
            self._leaving_since = monotonic()
            service.is_leaving = self._edge.is_leaving = True
            service.metrics.draining.set(1)
            _log.info("leaving", extra={"running": service.active})
        passed_s = monotonic() - self._leaving_since
        is_late = passed_s >= settings.drain_delay_s + settings.drain_timeout_s
        if is_late and service.active:
            _log.warning("drain_timed_out", extra={"cut": service.active})
        if passed_s >= settings.drain_delay_s:
            service.is_draining = service.active > 0
            self.should_exit = self.should_exit or is_late or self._is_done()

    def _is_done(self) -> bool:
        """Whether nothing runs and nothing is about to: who was let in may still say what he wants."""
        if self._app.service.active:
            return False
        if self._last_call_at is None:
            self._last_call_at = monotonic()
            for server in self.servers:  # of several workers the others go on taking what comes
                server.close()
        if monotonic() - self._last_call_at >= _LAST_CALL_S:
            return True
        return not any(getattr(connection, "is_expected", False) for connection in self.server_state.connections)
