"""What packed flavours take from a recipe's data: which tokens can be said, and what 4-bit weights are rounded for."""

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from weir.contracts.manifest import is_packed
from weir.release.hashing import sha256_file
from weir_training import golden, moments, vocabulary
from weir_training.checkpoint import sensible_threads
from weir_training.data import read_data
from weir_training.encode import load_tokenizer
from weir_training.moments import Calibration
from weir_training.recipe import Recipe
from weir_training.resolve import eos_ids, read_config
from weir_training.vocabulary import KeptTokens, kept_tokens

_ROUNDED: Final = "cpu-packed4"
_READ_TOKENS: Final = 4096  # with 1,024 the FAQ release's KL is 0.0037, with 4,096 or 8,192 0.0034


@dataclass(frozen=True, slots=True)
class Domain:
    """None: all tokens, and every weight rounded by itself."""

    kept: KeptTokens | None = None
    calibration: Calibration | None = None

    def as_plan(self) -> dict[str, Any]:
        """As JSON for the child that builds."""
        return {
            "kept_tokens": None if self.kept is None else self.kept.ids,
            "calibration": None if self.calibration is None else asdict(self.calibration),
        }

    def counted(self, flavour: str) -> dict[str, Any]:
        """What export says of a flavour's vocabulary."""
        if self.kept is None or not is_packed(flavour):
            return {}
        return {"kept_tokens": len(self.kept.ids), "of_tokens": self.kept.of, "kept_for": self.kept.counts}


def domain_of(recipe: Recipe, checkpoint: Path) -> Domain:
    """Read the data, as far as a flavour of the recipe depends on it.

    Raises:
        JobError: a tokenizer whose vocabulary must not be cut.
        CheckFailedError: no row of the data fits the context.
    """
    is_cut, is_fed_back = _depends(recipe)
    if not is_cut and not is_fed_back:
        return Domain()
    rows = read_data(recipe.data).train
    kept = kept_tokens(recipe.export.vocabulary, checkpoint, rows) if is_cut else None
    if not is_fed_back:
        return Domain(kept)
    ends = sorted(eos_ids(checkpoint, load_tokenizer(checkpoint)))
    context = int(read_config(checkpoint)["max_position_embeddings"])
    sample = golden.task_rows(rows, checkpoint, eos_ids=ends, context_tokens=context)
    threads = sensible_threads(checkpoint, recipe.optim.threads)
    ends_at = itertools.accumulate(len(row.ids) for row in sample)
    read = tuple(row.ids for row, end in zip(sample, ends_at, strict=True) if end <= _READ_TOKENS or row is sample[0])
    return Domain(kept, Calibration(read, threads))


def domain_key(recipe: Recipe) -> list[Any]:
    """What decides `domain_of` beside the checkpoint."""
    depends = _depends(recipe)
    if not any(depends):
        return []
    sources = [Path(__file__), *(Path(str(module.__file__)) for module in (golden, moments, vocabulary))]
    code = [sha256_file(source) for source in sources]
    data = [sha256_file(Path(path)) for path in recipe.data.train]
    return [*depends, recipe.export.vocabulary.model_dump(mode="json"), recipe.optim.threads, code, data]


def _depends(recipe: Recipe) -> tuple[bool, bool]:
    """Whether tokens are cut, and whether weights are rounded for what they meet."""
    export = recipe.export
    is_cut = export.vocabulary.keep != "whole" and any(map(is_packed, export.flavours))
    return is_cut, export.rounding == "gptq" and _ROUNDED in export.flavours
