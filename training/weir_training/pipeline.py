"""The whole chain in one process: check, train, eval, merge, export, verify, publish.

`weir up` runs it as `python -m weir_training.pipeline RECIPE ... --result FILE`. A stage whose inputs and outputs are
unchanged is skipped; interrupted anywhere, the same command goes on.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from weir.contracts.errors import WeirError, disk_full
from weir_training import narration
from weir_training.atomic import write_json
from weir_training.data import read_data
from weir_training.options import DEFAULT_HOME, Base, DataFiles, HeldoutFile, Home, RecipeName, Sets, read_recipe
from weir_training.progress import Progress, Tick, bar
from weir_training.publish import Publication, make_release
from weir_training.recipe import Recipe
from weir_training.report import write_report
from weir_training.rundir import RunDirectory, open_run, run_key

app = typer.Typer(add_completion=False)
_INTERRUPTED = 130


def run_all(recipe: Recipe, home: Path, progress: Progress, say: narration.Say) -> Publication:
    """Make, or find, the release of this recipe and its data.

    Raises:
        WeirError: a stage said no; what was done before it is kept.
    """
    data = read_data(recipe.data)
    run = open_run(home, recipe)
    for line in narration.opening(recipe, run, data):
        say(line)
    _learn(recipe, home, run, progress, say)
    _prove(recipe, run, progress, say)
    write_report(run)
    with _timed(say) as note:
        made = make_release(recipe, run, home, progress=progress)
        note(narration.published(made))
    return made


def _learn(recipe: Recipe, home: Path, run: RunDirectory, progress: Progress, say: narration.Say) -> None:
    """Each import brings torch along, so each stands behind the question whether its stage has work to do."""
    from weir_training.evaluate import evaluate
    from weir_training.merge import merge
    from weir_training.train import train

    if not run.is_done("train", run_key(recipe)):
        from weir_training.check import check_data

        with _timed(say) as note:
            note(narration.checked(check_data(recipe)))
    with _timed(say) as note:
        train(recipe, home, progress)
        note(narration.trained(run))
    with _timed(say) as note:
        before = evaluate(recipe, run, "base", progress)
        merge(recipe, run)
        after = evaluate(recipe, run, "merged", progress)
        note(narration.evaluated(before, after))
        note(narration.merged(run))


def _prove(recipe: Recipe, run: RunDirectory, progress: Progress, say: narration.Say) -> None:
    from weir_training.export import export_flavours
    from weir_training.export_source import made_source
    from weir_training.verify import verified

    with _timed(say) as note:
        export_flavours(recipe, made_source(recipe, run), run, progress)
        note(narration.exported(run))
    with _timed(say) as note:
        report = verified(recipe, run, progress=progress)
        for line in narration.verified(report):
            note(line)


class _CtrlC:
    """Remembers a Ctrl-C that a library swallowed (some catch everything while they are imported)."""

    def __init__(self) -> None:
        self.was_pressed = False
        signal.signal(signal.SIGINT, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.was_pressed = True
        raise KeyboardInterrupt

    def raise_if_pressed(self) -> None:
        if self.was_pressed:
            raise KeyboardInterrupt


@contextmanager
def _timed(say: narration.Say) -> Iterator[narration.Say]:
    """Collect a stage's lines; print them with its seconds when it ended well."""
    began = time.monotonic()
    lines: list[str] = []
    yield lines.append
    for number, line in enumerate(lines):
        seconds = f"{time.monotonic() - began:6.1f} s" if number == 0 else ""
        say(f"{line:<96}{seconds}".rstrip())


@app.command()
def main(  # noqa: PLR0913 - a command line's options are its arguments
    recipe: RecipeName,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    home: Home = DEFAULT_HOME,
    result: Annotated[Path | None, typer.Option(help="where to write what was made, as JSON")] = None,
) -> None:
    """Run the chain and say what was measured."""
    loaded = read_recipe(recipe, data, heldout, base, sets)
    began = time.monotonic()
    ctrl_c = _CtrlC()

    def watched(tick: Tick) -> None:
        ctrl_c.raise_if_pressed()
        progress(tick)

    with bar() as progress:
        made = run_all(loaded, home, watched, typer.echo)
    typer.echo(f"ready after {time.monotonic() - began:.1f} s: {made.root}")
    if result is not None:
        question = read_data(loaded.data).train[0].question[-1].content
        write_json(result, {"release": str(made.root), "question": question})


def _home() -> Path:
    """The home as given on the command line, for a last word on the way out."""
    words = sys.argv
    return Path(words[words.index("--home") + 1]) if "--home" in words[:-1] else DEFAULT_HOME


def _exit_code() -> int:
    try:
        return int(app(standalone_mode=False) or 0)  # Ctrl-C comes back as 130: typer makes it a return value
    except WeirError as error:
        known = disk_full(error) or error
        typer.echo(f"weir: {known}", err=True)
        return known.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED  # whoever started this says so
    except Exception as error:
        full = disk_full(error, _home())
        if full is None:
            raise
        typer.echo(f"weir: {full}", err=True)
        return full.exit_code


if __name__ == "__main__":
    sys.exit(_exit_code())
