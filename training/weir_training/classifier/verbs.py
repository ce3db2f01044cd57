"""`weir classifier`: train a small classifier of texts and publish it; `weir node` serves it."""

import json
from typing import Annotated

import typer

from weir_training.classifier.measure import Figures
from weir_training.classifier.recipe import load_classifier_recipe
from weir_training.options import DEFAULT_HOME, AsJson, Home, NodeUrls, Repository
from weir_training.progress import bar
from weir_training.quiet import calm_threads
from weir_training.telling import check_url, tell

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def classifier() -> None:
    """Classifiers of texts, e.g. of prompts that try to take a model over."""


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe, e.g. injection, or a YAML file.")],
    home: Home = DEFAULT_HOME,
    repository: Repository = None,
    node: NodeUrls = None,
    as_json: AsJson = False,
) -> None:
    """Train, measure beside the guard's rules, export, and publish if the gate says yes."""
    urls = [check_url("--node", url) for url in node or ()]
    loaded = load_classifier_recipe(recipe)
    calm_threads()
    from weir_training.classifier.release import train_and_publish  # torch: not before its threads are calm

    with bar() as progress:
        made = train_and_publish(loaded, home, repository=repository, progress=progress)
    manifest = made.manifest
    show = typer.echo if not as_json else lambda _: None
    told = tell(manifest.model, manifest.version, nodes=urls, gateways=(), show=show)
    if as_json:
        shown = made.manifest.model_dump(mode="json", include={"model", "version", "threshold", "evaluation"})
        typer.echo(json.dumps({**shown, "release": str(made.root), "is_new": made.is_new, "nodes": dict(told.nodes)}))
    else:
        state = "published" if made.is_new else "already published, unchanged:"
        chosen = made.manifest.threshold
        typer.echo(
            f"{state} {made.manifest.model} version {made.manifest.version}; found from {chosen.score:.4f} on "
            f"({chosen.false_positive_rate:.2%} of {chosen.fine_rows} validation rows that are fine)"
        )
        tables = {"held out": made.measured.heldout, "validation": made.measured.validation}
        tables |= {f"rules ({what})": table for what, table in made.measured.rules.items()}
        typer.echo("\n".join(_line(name, group, f) for name, table in tables.items() for group, f in table.items()))
        typer.echo(f"release  {made.root}")
    told.raise_for_refusals()


def _line(name: str, group: str, found: Figures) -> str:
    auc = f"  AUC {found.auc:.4f}" if found.auc == found.auc else ""
    return (
        f"{name:<14}{group:<5}{found.rows:>6} rows  precision {found.precision:.3f}  recall {found.recall:.3f}  "
        f"false positives {found.false_positive_rate:.2%}{auc}"
    )
