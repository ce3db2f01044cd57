"""Measures how an exported graph differs from the checkpoint, on the task's own rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from weir_training.graph_models import output_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weir.engine.step import Model, PositionLogits, Row
    from weir_training.checkpoint import Checkpoint

    Logits = NDArray[np.float32]
    Doubles = NDArray[np.float64]

ROWS_AT_ONCE = 16
_LOGITS_BUDGET_BYTES = 256 << 20  # of the reference's logits for one batch of rows
_POSITIONS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A rendered conversation: prompt up to the answer, and the answer with the token that ends it."""

    prompt: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prompt_ids + self.answer_ids


@dataclass(slots=True)
class Tally:
    """Sums over positions; the figures are read off at the end. `kept`: the tokens that can be said; None: all."""

    kept: "NDArray[np.int32] | None" = None
    positions: int = 0
    agreed: int = 0
    max_abs: float = 0.0
    kl_sum: float = 0.0
    answer_tokens: int = 0
    nll_sum: float = 0.0
    nll_reference_sum: float = 0.0
    rows: int = 0
    exact: int = 0
    exact_reference: int = 0

    def add(self, reference: "Logits", got: "Logits") -> None:
        """Compare logits of shape (positions, vocabulary), float32. A not-a-number counts as infinitely far.

        Of a flavour that says `kept` tokens only, these are compared, as distributions over them; what cutting the
        others costs is measured by `weir_training.cut_cost`.
        """
        for at in range(0, len(reference), _POSITIONS_AT_ONCE):
            one, other = reference[at : at + _POSITIONS_AT_ONCE], got[at : at + _POSITIONS_AT_ONCE]
            if self.kept is not None:
                one, other = one[:, self.kept], other[:, self.kept]
            far = float(np.abs(one - other).max())
            self.max_abs = max(self.max_abs, far if np.isfinite(far) else np.inf)
            wanted, found = log_softmax(one), log_softmax(other)
            self.kl_sum += float((np.exp(wanted) * (wanted - found)).sum())
            self.agreed += int((one.argmax(-1) == other.argmax(-1)).sum())
            self.positions += len(one)

    def add_answer(self, reference: "Logits", got: "Logits", answer_ids: Sequence[int]) -> None:
        """Score an answer; row t of both logits predicts `answer_ids[t]`.

        Greedy generation gives exactly this answer if and only if every argmax along it is its next token, so
        exact match needs no generation.
        """
        wanted = np.asarray(answer_ids)
        self.nll_reference_sum += _nll(reference, wanted)
        self.nll_sum += _nll(got, wanted)
        self.answer_tokens += len(wanted)
        self.rows += 1
        self.exact_reference += bool((reference.argmax(-1) == wanted).all())
        self.exact += bool((got.argmax(-1) == wanted).all())


@dataclass(slots=True)
class FlavourTally:
    """`stepped` is token by token through the past; `at_once` is the end of a prompt that was read in one run."""

    stepped: Tally = field(default_factory=Tally)
    at_once: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, model: "Model") -> "FlavourTally":
        kept = output_tokens(model)
        return cls(Tally(kept), Tally(kept))


def compare(
    checkpoint: "Checkpoint",
    models: "dict[str, Model]",
    rows: Sequence[TaskRow],
    on_batch: Callable[[int], None],
) -> dict[str, FlavourTally]:
    """Measure every model on every row; the checkpoint runs once for all of them.

    `on_batch` is told how many rows are done.
    """
    tallies = {name: FlavourTally.of(model) for name, model in models.items()}
    done = 0
    for batch in batches(rows, checkpoint.vocab_size):
        references = checkpoint.logits([row.ids for row in batch])
        for name, model in models.items():
            _compare_batch(model, batch, references, tallies[name])
        done += len(batch)
        on_batch(done)
    return tallies


def batches(rows: Sequence[TaskRow], vocab_size: int) -> Iterator[list[TaskRow]]:
    """Cut rows, longest first, so that a batch's logits stay within the budget and little of it is padding."""
    ordered = sorted(rows, key=lambda row: len(row.ids), reverse=True)
    at = 0
    while at < len(ordered):
        row_bytes = len(ordered[at].ids) * vocab_size * 4
        count = max(1, min(ROWS_AT_ONCE, _LOGITS_BUDGET_BYTES // row_bytes))
        yield ordered[at : at + count]
        at += count


def _compare_batch(
    model: "Model", batch: Sequence[TaskRow], references: "Sequence[Logits]", tally: FlavourTally
) -> None:
    for row, reference, got in zip(batch, references, _stepped(model, batch), strict=True):
        tally.stepped.add(reference[:-1], got[:-1])
        answer = slice(len(row.prompt_ids) - 1, len(row.ids) - 1)
        tally.stepped.add_answer(reference[answer], got[answer], row.answer_ids)
        end = len(row.prompt_ids)
        tally.at_once.add(reference[end - 1 : end], _prompt_end(model, row.prompt_ids))


def _stepped(model: "Model", batch: Sequence[TaskRow]) -> "list[Logits]":
    """Feed every row one token at a time, all rows together; return logits of shape (length, vocabulary) per row."""
    logits = [np.empty((len(row.ids), model.vocab_size), np.float32) for row in batch]
    for at in range(max(len(row.ids) for row in batch)):
        running = [number for number, row in enumerate(batch) if at < len(row.ids)]
        rows = [_fed(model, number, batch[number].ids[at : at + 1], at) for number in running]
        for number, [position] in zip(running, model.run(rows), strict=True):
            logits[number][at] = _all(position)
    return logits


def _prompt_end(model: "Model", ids: Sequence[int]) -> "Logits":
    """Read a whole prompt in one run; return its last logits, shape (1, vocabulary)."""
    [[position]] = model.run([_fed(model, 0, ids, 0)])
    return _all(position)[None]


def _fed(model: "Model", number: int, ids: Sequence[int], past: int) -> "Row":
    from weir.engine.step import Detail, Row

    each = model.blocks // ROWS_AT_ONCE
    return Row(range(number * each, (number + 1) * each), ids, past, 1, Detail.FULL)


def _all(position: "PositionLogits") -> "Logits":
    if position.full is None:
        raise AssertionError("every logit was asked for")
    return position.full


def log_softmax(logits: "Logits") -> "Doubles":
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    result: Doubles = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return result


def _nll(logits: "Logits", targets: "NDArray[np.int64]") -> float:
    """Sum of -log p(target) in nats; a chunk at a time, for the memory's sake."""
    total = 0.0
    for at in range(0, len(targets), _POSITIONS_AT_ONCE):
        wanted = targets[at : at + _POSITIONS_AT_ONCE]
        log_p = log_softmax(logits[at : at + _POSITIONS_AT_ONCE])
        total -= float(log_p[np.arange(len(wanted)), wanted].sum())
    return total
