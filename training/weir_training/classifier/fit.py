"""Training, and reading texts with what was trained."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from weir.contracts.errors import JobError
from weir.release.ngrams import Ids
from weir.release.windows import Windows, padded
from weir_training.classifier.network import Network
from weir_training.classifier.recipe import ClassifierRecipe
from weir_training.classifier.rows import Labelled
from weir_training.progress import Progress, Tick

Logits = NDArray[np.float32]
Reader = Callable[[Ids], Logits]  # a batch as `padded` makes it → one logit or score each
STAGE: Final = "train"
_SORTED_BATCHES: Final = 16  # batches whose rows are sorted by length together: less padding, still by chance
_READ_AT_ONCE: Final = 64
NOTHING: Final = -50.0  # the logit of a text without anything to read


def new_network(recipe: ClassifierRecipe) -> Network:
    """Return the network as training begins with it; the same seed makes the same one."""
    torch.manual_seed(recipe.seed)
    return Network(
        buckets=recipe.features.buckets,
        width=recipe.model.width,
        channels=recipe.model.channels,
        dropout=recipe.optim.dropout,
    )


def windows_of(recipe: ClassifierRecipe) -> Windows:
    return Windows(recipe.features.ngrams(), recipe.window.chars, recipe.window.stride)


def fit(network: Network, recipe: ClassifierRecipe, rows: Sequence[Labelled], progress: Progress) -> None:
    """Train in place, on the first window of each row.

    Raises:
        JobError: the loss is no longer a number.
    """
    torch.set_num_threads(recipe.optim.threads)
    cut = windows_of(recipe)
    read = [(ids, row.is_sought) for row in rows if (ids := next(cut.each(row.text), None)) is not None]
    rng = Random(recipe.seed)  # noqa: S311 - reproducible, not secret
    steps = recipe.optim.epochs * -(-len(read) // recipe.optim.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.optim.lr, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.optim.lr, total_steps=steps, pct_start=0.2)
    lost, done = nn.BCEWithLogitsLoss(), 0
    network.train()
    for _ in range(recipe.optim.epochs):
        for batch in _batches(read, recipe.optim.batch_size, rng):
            seen = torch.from_numpy(padded([ids for ids, _ in batch])).long()
            hidden = torch.rand(seen.shape) < recipe.optim.hidden_ids
            hidden[:, :, 0] = False  # the first column says where the text ends
            loss = lost(network(seen.masked_fill(hidden, 0)), torch.tensor([float(sought) for _, sought in batch]))
            if not torch.isfinite(loss):
                raise JobError("training stopped: the loss is no longer a number; lower optim.lr")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            progress(Tick(STAGE, done, steps, f"loss {loss.item():.4f}"))
    network.eval()


def reader(network: Network) -> Reader:
    """Return a function from a batch of ids to logits."""

    def read(ids: Ids) -> Logits:
        with torch.inference_mode():
            logits: Logits = network(torch.from_numpy(ids).long()).numpy()
            return logits

    return read


def read_texts(read: Reader, cut: Windows, texts: Sequence[str], *, nothing: float = NOTHING) -> Logits:
    """Return one value per text: its worst window's; `nothing` for a text without any."""
    windows = [(number, ids) for number, text in enumerate(texts) for ids in cut.each(text)]
    windows.sort(key=lambda window: len(window[1]))
    found = np.full(len(texts), nothing, np.float32)
    for begin in range(0, len(windows), _READ_AT_ONCE):
        part = windows[begin : begin + _READ_AT_ONCE]
        values = read(padded([ids for _, ids in part]))
        np.maximum.at(found, [number for number, _ in part], values)
    return found


def _batches(rows: Sequence[tuple[Ids, bool]], size: int, rng: Random) -> list[list[tuple[Ids, bool]]]:
    order = list(range(len(rows)))
    rng.shuffle(order)
    pool = size * _SORTED_BATCHES
    batches = []
    for begin in range(0, len(order), pool):
        near = sorted(order[begin : begin + pool], key=lambda number: len(rows[number][0]))
        batches += [[rows[number] for number in near[at : at + size]] for at in range(0, len(near), size)]
    rng.shuffle(batches)
    return batches
