"""Runs the gateway: binds, serves, and on SIGTERM drains before it leaves."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from time import monotonic
from types import FrameType

import uvicorn
from prometheus_client import disable_created_metrics

from weir.asgi.listen import listen
from weir.gateway.app import GatewayApp, create_app
from weir.gateway.settings import GatewaySettings

_log = logging.getLogger(__name__)
_SWITCH_INTERVAL_S = 0.0005  # rendering /metrics in a thread must not hold up streams
_GC_THRESHOLDS = (10_000, 20, 50)
_LAST_WORDS_S = 2  # for connections that are idle or stuck once nothing is left to drain


def serve(settings: GatewaySettings) -> None:
    """Serve until SIGINT or SIGTERM, then return.

    Raises:
        UsageError: the port is taken, or the guard policy is refused.
        ReleaseError: a release is refused.
    """
    app = create_app(settings)
    listener = listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_LAST_WORDS_S,
        timeout_keep_alive=75,
    )
    disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and nobody asks for them
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    # What was loaded stays: the collector need not walk it again and again, which stops every stream for as long.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    DrainingServer(config, app, settings).run(sockets=[listener])


class DrainingServer(uvicorn.Server):
    """On the first signal `/readyz` says 503 and running answers go on; a second one ends them.

    uvicorn alone would close its listener at once and exit with the signal's code.
    """

    def __init__(self, config: uvicorn.Config, app: GatewayApp, settings: GatewaySettings) -> None:
        super().__init__(config)
        self._app = app
        self._settings = settings
        self._signals = 0
        self._leaving_since: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        self._signals += 1
        if self._signals > 1:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: the place where a signal turns into a drain."""
        if self._signals:
            self._drain()
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._app.service.catalog.reload)

    def _drain(self) -> None:
        service, settings = self._app.service, self._settings
        if self._leaving_since is None:
            self._leaving_since = monotonic()
            service.is_leaving = True
            service.metrics.draining.set(1)
            _log.info("leaving", extra={"running": service.active})
        passed_s = monotonic() - self._leaving_since
        service.is_draining = passed_s >= settings.drain_delay_s
        is_late = passed_s >= settings.drain_delay_s + settings.drain_timeout_s
        if is_late and service.active:
            _log.warning("drain_timed_out", extra={"cut": service.active})
        self.should_exit = self.should_exit or is_late or (service.is_draining and not service.active)
