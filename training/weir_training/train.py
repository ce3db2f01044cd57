"""`weir train`: fine-tune a LoRA adapter. Killed at any moment, the same command ends with the same bytes."""

import fcntl
import json
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from weir.contracts.errors import JobError
from weir_training import events, options
from weir_training.atomic import new_folder
from weir_training.check import Prepared, prepare
from weir_training.data import read_data
from weir_training.options import DEFAULT_HOME, AsJson, Base, DataFiles, HeldoutFile, Home, RecipeName, Sets
from weir_training.progress import Progress, Tick, bar, silent
from weir_training.quiet import calm_threads, quiet_libraries
from weir_training.recipe import Recipe
from weir_training.report import write_report
from weir_training.resume import newest_complete, step_of
from weir_training.rundir import RunDirectory, open_run, run_key

if TYPE_CHECKING:
    from weir_training.trainer import LoraTrainer

app = typer.Typer(add_completion=False)
STAGE = "train"


class InterruptedRunError(JobError):
    """Ctrl-C. A checkpoint was saved."""

    code = "interrupted"
    exit_code = 130


class TerminatedRunError(InterruptedRunError):
    """SIGTERM. A checkpoint was saved."""

    code = "terminated"
    exit_code = 143


class StopRequest:
    """Turns SIGINT and SIGTERM into a word to the training loop; a second signal is not waited for."""

    def __init__(self) -> None:
        self.error: InterruptedRunError | None = None
        self.is_looping = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals inside the block. Elsewhere than in the main thread none can be taken: then it is inert."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        kind = TerminatedRunError if number == signal.SIGTERM else InterruptedRunError
        error = kind("interrupted; the same command goes on from the last checkpoint")
        is_first, self.error = self.error is None, error  # noted first: a library may swallow what is raised into it
        if not (is_first and self.is_looping):
            raise error


def train(recipe: Recipe, home: Path = DEFAULT_HOME, progress: Progress = silent) -> RunDirectory:
    """Train the recipe's adapter, or go on with it; return its run. A run that is done is left as it is.

    Raises:
        UsageError: bad data or no such base.
        CheckFailedError: `check_data` says no.
        InterruptedRunError: a signal came; the state is saved.
        JobError: another process is training this run, or the loss is no longer a number.
    """
    read_data(recipe.data)  # says what is wrong with the files before they are hashed
    run = open_run(home, recipe)
    key = run_key(recipe)
    if run.is_done(STAGE, key):
        return run
    calm_threads()
    stop = StopRequest()
    with _alone(run), stop.listening():
        prepared = prepare(recipe)
        progress(Tick(STAGE, 0, 1, "loading"))
        _train(recipe, prepared, run, key, stop, progress)
    write_report(run)
    return run


def _train(
    recipe: Recipe, prepared: Prepared, run: RunDirectory, key: str, stop: StopRequest, progress: Progress
) -> None:
    from weir_training.callbacks import RunCallback
    from weir_training.trainer import build_trainer

    checkpoint = newest_complete(run.checkpoints)
    kept = events.truncate(run.events, 0 if checkpoint is None else step_of(checkpoint))
    callback = RunCallback(
        run, recipe.checkpoint.keep, stop, progress, seconds_before=kept[-1].seconds if kept else 0.0
    )
    with quiet_libraries():
        trainer = build_trainer(recipe, prepared, run.checkpoints, [callback])
        stop.is_looping = True
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        stop.is_looping = False
        if stop.error is not None:
            raise stop.error
        _save(trainer, recipe, run.adapter)
    metrics = _metrics(trainer, prepared, run, resumed_at=None if checkpoint is None else step_of(checkpoint))
    run.record(STAGE, key, outputs=[run.adapter], seconds=metrics["seconds"], metrics=metrics)


@contextmanager
def _alone(run: RunDirectory) -> Iterator[None]:
    """Hold the run's lock; the kernel lets it go when the process dies, however it dies."""
    with (run.root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JobError(f"{run.root}: another process is training this run") from error
        yield


def _save(trainer: "LoraTrainer", recipe: Recipe, folder: Path) -> None:
    with new_folder(folder) as temporary:
        trainer.model.save_pretrained(temporary, safe_serialization=True)
        (temporary / "README.md").unlink(missing_ok=True)
        _settle_config(temporary / "adapter_config.json", recipe)


def _settle_config(path: Path, recipe: Recipe) -> None:
    """Sort what PEFT keeps as sets and name the base as the recipe does: the same run, the same bytes."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = recipe.model.base
    config["revision"] = recipe.model.revision
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _metrics(
    trainer: "LoraTrainer", prepared: Prepared, run: RunDirectory, *, resumed_at: int | None
) -> dict[str, Any]:
    logged = events.read(run.events)
    trainable, total = trainer.model.get_nb_trainable_parameters()
    return {
        "steps": trainer.state.global_step,
        "seconds": round(logged[-1].seconds, 3),
        "first_loss": logged[0].loss,
        "last_loss": logged[-1].loss,
        "trainable_parameters": trainable,
        "parameters": total,
        "trainable_percent": round(100 * trainable / total, 3),
        "rows": prepared.report.rows,
        "dropped_rows": len(prepared.report.dropped),
        "supervised_tokens": prepared.report.supervised_tokens,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "device": str(trainer.args.device),
        "resumed_at_step": resumed_at,
    }


@app.command(name="train")
def command(  # noqa: PLR0913 — a command line's options are its arguments
    recipe: RecipeName,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a LoRA adapter; an interrupted run goes on where it was."""
    resolved = options.read_recipe(recipe, data, heldout, base, sets)
    with bar() as progress:
        run = train(resolved, home, progress)
    metrics = run.metrics(STAGE) or {}
    if as_json:
        typer.echo(json.dumps({"run": str(run.root), **metrics}))
        return
    typer.echo(
        f"{metrics['steps']} steps in {metrics['seconds']:.0f} s, loss {metrics['first_loss']:.3f} to "
        f"{metrics['last_loss']:.3f}, {metrics['trainable_percent']:.1f} % of the parameters\n"
        f"adapter  {run.adapter}\nreport   {run.root / 'report.html'}"
    )
