"""`weir node`: serve a release on CPU."""

from pathlib import Path
from typing import Annotated

import typer

from weir.cpu_node.server import find_release, run_node
from weir.cpu_node.settings import load_node_settings

app = typer.Typer(add_completion=False, help="Serve a release on CPU (ONNX Runtime), on the Open Inference Protocol.")


@app.command()
def node(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RELEASE]...", help="Release folders, or models' names (the newest version of each)"),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [8100]", min=0, max=65535)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1]")] = None,
    flavour: Annotated[str | None, typer.Option(help="e.g. cpu-packed4 [the release's serve_flavour]")] = None,
    threads: Annotated[int | None, typer.Option(help="Compute threads [all that the process may use]", min=0)] = None,
    max_running: Annotated[int | None, typer.Option(help="Sequences that decode together [16]", min=1)] = None,
    home: Annotated[Path | None, typer.Option(help="Where releases live [.weir]")] = None,
    model_repository: Annotated[Path | None, typer.Option(help="A second folder to load releases from")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings as YAML")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [info]")] = None,
) -> None:
    """Serve each RELEASE, one that generates or one that classifies, until SIGTERM or Ctrl-C, then finish what runs."""
    flags = {
        "port": port,
        "host": host,
        "flavour": flavour,
        "threads": threads,
        "max_running": max_running,
        "home": home,
        "model_repository": model_repository,
        "log_level": log_level,
    }
    settings = load_node_settings(flags, config)
    run_node(settings, [find_release(target, settings.releases) for target in targets or (None,)])
