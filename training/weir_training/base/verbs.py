"""`weir base`: build and inspect the bases that come with Weir."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weir.contracts.errors import UsageError

if TYPE_CHECKING:
    from weir_training.base.pretrain import Progress

app = typer.Typer(name="base", help="Build and inspect the built-in base models.", no_args_is_help=True)


@app.command()
def build(
    profile: Annotated[str, typer.Option(help="ci (seconds) or tiny (what is shipped; half an hour).")] = "tiny",
    out: Annotated[Path | None, typer.Option(help="Folder to write; default .weir/base/<profile>_chat.")] = None,
) -> None:
    """Make a base model from nothing but this repository and the Python installation."""
    from weir_training.base.build import build as build_base
    from weir_training.base.builtin import example_paths
    from weir_training.base.profiles import PROFILES

    if profile not in PROFILES:
        raise UsageError(f"there is no profile {profile!r}; choose one of {', '.join(PROFILES)}")
    folder = out or Path(".weir") / "base" / f"{profile}_chat"
    with _progress_bar() as on_progress:
        manifest = build_base(PROFILES[profile], folder, examples=example_paths(), on_progress=on_progress)
    loss = manifest["pretraining"]["eval_loss_after"]
    typer.echo(f"{folder}: {manifest['parameter_count']:,} parameters, eval loss {loss}")


@app.command()
def info(base: Annotated[str, typer.Argument(help="A built-in base or a folder.")] = "builtin:tiny-chat") -> None:
    """Show the manifest of a base: what it was made from, and the hashes of its files."""
    from weir_training.base.builtin import builtin_path

    try:
        folder = Path(base) if Path(base).is_dir() else builtin_path(base)
        manifest = (folder / "manifest.json").read_text(encoding="utf-8")
    except LookupError as error:
        raise UsageError(str(error)) from error
    except FileNotFoundError as error:
        raise UsageError(f"{base} has no manifest") from error
    typer.echo(json.dumps(json.loads(manifest), indent=2, ensure_ascii=False))


@contextmanager
def _progress_bar() -> "Iterator[Progress]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("gathering text", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total, description="pre-training")
