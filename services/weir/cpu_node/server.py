"""Runs a node as a process: port, signals, drain."""

import asyncio
import contextlib
import logging
import math
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import uvicorn
import uvloop
from prometheus_client import REGISTRY

from weir import __version__
from weir.asgi.connection import ConnectionFactory
from weir.asgi.listen import listen
from weir.contracts.errors import UsageError
from weir.cpu_node.app import NodeApp, connections
from weir.cpu_node.models import ModelHost
from weir.cpu_node.settings import NodeSettings
from weir.release.reader import MANIFEST, newest_version
from weir.telemetry.logs import configure_logs
from weir.telemetry.node_metrics import NodeMetrics
from weir.telemetry.tracing import open_tracing

_log = logging.getLogger("weir.node")
_SWITCH_INTERVAL_S = 0.0005  # the engine's thread and the event loop share one interpreter: hand over quickly


def run_node(settings: NodeSettings, roots: Sequence[Path]) -> None:
    """Serve the releases at `roots` until SIGTERM or SIGINT; then finish what runs, for `drain_timeout_s` at most.

    Raises:
        UsageError: the port is taken.
        ReleaseError: a release was refused.
    """
    configure_logs("node", settings.log_level)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        uvloop.run(_serve(settings, roots, listener))


def find_release(target: str | None, releases: Path) -> Path:
    """Return the release that `target` names: its folder, or a model's (the newest version), also one below `releases`.

    Raises:
        UsageError: it names nothing, or nothing was named and there is not exactly one model.
        ReleaseError: the model has no complete release.
    """
    models = sorted(p.name for p in releases.glob("*") if p.is_dir()) if releases.is_dir() else []
    if target is None:
        if len(models) != 1:
            raise UsageError(f"which release? {releases} holds {', '.join(models) or 'none'}")
        return newest_version(releases / models[0])
    if (Path(target) / MANIFEST).is_file():
        return Path(target)
    if target in models:
        return newest_version(releases / target)
    if any(version.is_dir() for version in Path(target).glob("[0-9]*")):
        return newest_version(Path(target))
    raise UsageError(f"{target}: neither a release folder nor a model below {releases}")


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which ends the process by the signal after draining."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(settings: NodeSettings, roots: Sequence[Path], listener: socket.socket) -> None:
    metrics = NodeMetrics(REGISTRY)
    host = ModelHost(settings, metrics)
    tracing = open_tracing(settings.tracing, "weir-node", __version__)
    key = "" if settings.repository_key is None else settings.repository_key.get_secret_value()
    limit = settings.max_body_bytes
    app = NodeApp(host, metrics, max_body_bytes=limit, repository_key=key, tracing=tracing)
    edge = connections(settings.host)
    server = _Server(uvicorn_config(app, edge, drain_timeout_s=settings.drain_timeout_s))
    _drain_on_signal(server, host, edge)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        for root in roots:
            await host.load(root)
        where = listener.getsockname()
        _log.info("listening", extra={"host": where[0], "port": where[1]})
    except BaseException:
        server.should_exit = True
        raise
    finally:
        await serving
        await host.aclose(drain_s=0)
        if tracing is not None:
            await asyncio.to_thread(tracing.close)
    _log.info("stopped")


def uvicorn_config(app: NodeApp, edge: ConnectionFactory, *, drain_timeout_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=edge,  # type: ignore[arg-type]  # whatever makes protocols
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(drain_timeout_s),
    )


def _drain_on_signal(server: uvicorn.Server, host: ModelHost, edge: ConnectionFactory) -> None:
    """The first signal drains; a second one ends the answers in progress."""

    def drain() -> None:
        if server.should_exit:
            server.force_exit = True
        host.drain()
        edge.is_leaving = True
        server.should_exit = True
        _log.info("draining")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
