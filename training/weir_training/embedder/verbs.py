"""`weir embedder`: make a release of a checkpoint that embeds texts; `weir node` serves it."""

import json
import re
from typing import Annotated

import typer

from weir.contracts.embedder import Pooling
from weir.contracts.errors import UsageError
from weir.contracts.request import MODEL_NAME
from weir_training.options import DEFAULT_HOME, AsJson, Home, NodeUrls, Repository
from weir_training.progress import bar
from weir_training.quiet import calm_threads
from weir_training.recipe import ModelPart
from weir_training.resolve import resolve_base
from weir_training.telling import check_url, tell

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def embedder() -> None:
    """Models that make vectors of texts, for search and for whatever else compares them."""


@app.command()
def export(  # noqa: PLR0913 - options of a command line
    checkpoint: Annotated[str, typer.Argument(help="A folder of safetensors, a hub id, or builtin:NAME.")],
    name: Annotated[str, typer.Option("--name", help="Of the model that is published.")],
    pooling: Annotated[
        Pooling | None, typer.Option(help="How hidden states become one vector; default: what the folder says.")
    ] = None,
    home: Home = DEFAULT_HOME,
    repository: Repository = None,
    node: NodeUrls = None,
    as_json: AsJson = False,
) -> None:
    """Export to ONNX, compare with the checkpoint vector by vector, and publish if they are the same."""
    urls = [check_url("--node", url) for url in node or ()]
    if not re.fullmatch(MODEL_NAME, name):
        raise UsageError(f"--name {name}: must match {MODEL_NAME}")
    calm_threads()
    from weir_training.embedder.release import export_and_publish  # torch: not before its threads are calm

    folder = resolve_base(ModelPart(base=checkpoint)).resolve()
    with bar() as progress:
        made = export_and_publish(folder, name, home, pooling=pooling, repository=repository, progress=progress)
    manifest, parity = made.manifest, made.manifest.formats[0].parity
    show = typer.echo if not as_json else lambda _: None
    told = tell(manifest.model, manifest.version, nodes=urls, gateways=(), show=show)
    if as_json:
        shown = manifest.model_dump(mode="json", include={"model", "version", "pooling", "dimensions", "evaluation"})
        typer.echo(json.dumps({**shown, "release": str(made.root), "is_new": made.is_new, "nodes": dict(told.nodes)}))
    else:
        state = "published" if made.is_new else "already published, unchanged:"
        typer.echo(
            f"{state} {manifest.model} version {manifest.version}; {manifest.dimensions} dimensions, pooled by "
            f"{manifest.pooling}, cosine {parity.min_cosine:.6f} at least over {parity.rows} rows"
        )
        typer.echo(f"release  {made.root}")
    told.raise_for_refusals()
