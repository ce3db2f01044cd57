"""What is exported: the merged checkpoint, or the weights that bitsandbytes makes of it (`export.loaded_as`)."""

import json
import time
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import JobError
from weir.release.hashing import sha256_text, sha256_tree
from weir_training.recipe import Recipe
from weir_training.rundir import RunDirectory

STAGE: Final = "load"
_METHOD: Final = 1


def source_of(recipe: Recipe, run: RunDirectory) -> Path:
    """Return the checkpoint that flavours are made of and compared with; `made_source` makes it."""
    kind = recipe.export.loaded_as
    return run.merged if kind == "full" else run.root / "loaded" / kind


def made_source(recipe: Recipe, run: RunDirectory) -> Path:
    """As `source_of`, made if it is not there.

    Raises:
        JobError: nothing was merged yet, or bitsandbytes is not installed.
    """
    source, kind = source_of(recipe, run), recipe.export.loaded_as
    if kind == "full":
        return source
    if not (run.merged / "config.json").is_file():
        raise JobError(f"{run.merged}: no merged checkpoint here; run `weir merge` first")
    key = sha256_text(json.dumps([_METHOD, kind, sha256_tree(run.merged)]))
    if not run.is_done(STAGE, key):
        from weir_training.rounded import write_rounded

        began = time.perf_counter()
        write_rounded(run.merged, source, kind)
        metrics: dict[str, Any] = {"loaded_as": kind}
        run.record(STAGE, key, outputs=[source], seconds=time.perf_counter() - began, metrics=metrics)
    return source
