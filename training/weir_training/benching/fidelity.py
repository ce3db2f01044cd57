"""What every contestant's answers are compared with: the fp32 checkpoint on a release's golden prompts and answers."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from weir.contracts.errors import UsageError
from weir_training.benching.contestants import Sample
from weir_training.benching.target import Target
from weir_training.benching.workers.divergence import log_softmax


@contextmanager
def golden_sample(target: Target, threads: int) -> Iterator[Sample]:
    """Let the checkpoint read the golden prompts with its own answers; what it said is kept until the block ends.

    Raises:
        UsageError: random weights, whose divergence means nothing.
    """
    from weir_training.checkpoint import Checkpoint

    if not target.manifest.gate_passed:
        raise UsageError(f"--kl {target.name}: needs a release that passed its gate; random weights say nothing")
    texts = tuple(golden.prompt_ids + golden.greedy_ids for golden in target.manifest.golden)
    logits = Checkpoint(target.checkpoint, threads=threads).logits(texts)
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        path = Path(folder) / "reference.npz"
        np.savez(path, **{f"{n:05}": log_softmax(found) for n, found in enumerate(logits)})
        yield Sample(texts, path)
