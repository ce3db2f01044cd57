"""What happens between steps: events, progress, checkpoints that count, and a stop that can be gone on from."""

# ruff: noqa: ARG002 — the signatures are those of transformers

import math
import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from weir.contracts.errors import JobError
from weir_training import events
from weir_training.progress import Progress, Tick
from weir_training.resume import complete
from weir_training.rundir import RunDirectory

if TYPE_CHECKING:
    from weir_training.train import StopRequest


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Writes to one run; `seconds_before` is what earlier, interrupted processes spent."""

    def __init__(
        self, run: RunDirectory, keep: int, stop: "StopRequest", progress: Progress, *, seconds_before: float
    ) -> None:
        self._run = run
        self._keep = keep
        self._stop = stop
        self._progress = progress
        self._seconds_before = seconds_before
        self._started = 0.0
        self._note = ""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._started = time.monotonic()
        self._tick(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True
        if self._stop.error is not None:
            control.should_save = control.should_training_stop = True
        self._tick(state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        if "loss" not in logs:  # the summary after the last step
            return
        seconds = self._seconds_before + time.monotonic() - self._started
        event = events.Event(state.global_step, logs["loss"], logs["learning_rate"], round(seconds, 3))
        if not math.isfinite(event.loss):
            raise JobError(
                f"the loss is {event.loss} at step {event.step}: lower optim.lr; the last checkpoint is good"
            )
        events.append(self._run.events, event)
        self._note = f"loss {event.loss:.3f}"
        self._tick(state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        complete(self._run.checkpoints, state.global_step, keep=self._keep)

    def _tick(self, state: TrainerState) -> None:
        self._progress(Tick("train", state.global_step, state.max_steps, self._note))
