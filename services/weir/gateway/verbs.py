"""`weir serve`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from weir.gateway.server import serve as run_server
from weir.gateway.settings import load_settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    node: Annotated[list[str] | None, typer.Option(help="URL of a node, or NAME=URL; repeat for more")] = None,
    nodes_file: Annotated[Path | None, typer.Option(help="more nodes (YAML), looked at every second")] = None,
    release: Annotated[list[Path] | None, typer.Option(help="a release, or a model's folder: its newest")] = None,
    embedder: Annotated[
        list[str] | None,
        typer.Option(help="release for /v1/embeddings, or DIR=URL of a node with it  [default: the --node URLs]"),
    ] = None,
    guard: Annotated[Path | None, typer.Option(help="guard policy (YAML); default: the packaged one")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on  [default: 8080]")] = None,
    config: Annotated[Path | None, typer.Option(help="settings file (YAML)")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="requests worked on at once")] = None,
    drain_timeout_s: Annotated[
        float | None, typer.Option(help="how long running answers may go on after SIGTERM")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="where keys, usage and audit live  [default: .weir]")] = None,
    allow_anonymous: Annotated[bool, typer.Option("--allow-anonymous", help="serve callers without a key")] = False,
    workers: Annotated[int | None, typer.Option(help="processes; each uses one core  [default: 1]")] = None,
    admin_host: Annotated[str | None, typer.Option(help="address of /metrics and /admin  [default: 127.0.0.1]")] = None,
    admin_port: Annotated[int | None, typer.Option(help="their port; 0: off  [default: the one after --port]")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error")] = None,
) -> None:
    """Run the gateway: TGI and OpenAI routes, guard, metrics, over one or more nodes.

    Settings come from flags, then WEIR_GATEWAY_* variables, then the settings file. SIGTERM and Ctrl-C drain;
    SIGHUP reads guard policy, releases, embedders and the list of nodes again.
    """
    given: dict[str, Any] = {
        "nodes": [_node(number, text) for number, text in enumerate(node)] if node else None,
        "nodes_file": nodes_file,
        "releases": release or None,
        "embedders": _embedders(embedder or ()) or None,
        "guard": guard,
        "host": host,
        "port": port,
        "max_in_flight": max_in_flight,
        "drain_timeout_s": drain_timeout_s,
        "home": home,
        "log_level": log_level,
    }
    edge = {"workers": workers, "admin_host": admin_host, "admin_port": admin_port}
    given["edge"] = {key: value for key, value in edge.items() if value is not None} or None
    if allow_anonymous:
        given["access"] = {"allow_anonymous": True}
    flags = {key: value for key, value in given.items() if value is not None}
    settings = load_settings(flags, config)
    _configure_logs(settings.log_level)
    if code := run_server(settings, lambda: load_settings(flags, config)):
        raise typer.Exit(code)


def _node(number: int, text: str) -> dict[str, str]:
    name, has_name, url = text.partition("=")
    if has_name and "/" not in name:
        return {"name": name, "url": url}
    return {"name": f"cpu-{number}", "url": text}


def _embedders(given: Iterable[str]) -> list[dict[str, Any]]:
    """A release that is given again has one node more."""
    urls: dict[str, list[str]] = {}
    for text in given:
        folder, has_url, url = text.partition("=http")
        urls.setdefault(folder, []).extend([f"http{url}"] if has_url else [])
    return [{"release": folder, "urls": at} for folder, at in urls.items()]


def _configure_logs(level: str) -> None:
    from weir.telemetry.logs import configure_logs  # only a server process sets logging up

    configure_logs("gateway", level)
