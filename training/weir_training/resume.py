"""Checkpoints that either count or do not: `COMPLETE` is written last and holds the hash of the rest."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from weir.release.hashing import sha256_file, sha256_text
from weir_training.atomic import sync_tree, write_text

_COMPLETE = "COMPLETE"
_PREFIX = "checkpoint-"  # transformers' own name


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))


def complete(folder: Path, step: int, *, keep: int) -> None:
    """Mark the checkpoint of `step` complete, then let all but the newest `keep` go."""
    checkpoint = folder / f"{_PREFIX}{step}"
    sync_tree(checkpoint)
    write_text(checkpoint / _COMPLETE, _digest(checkpoint) + "\n")
    for old in list(_newest_first(folder))[keep:]:
        (old / _COMPLETE).unlink(missing_ok=True)  # first: half a removal must not look like a whole checkpoint
        shutil.rmtree(old)


def newest_complete(folder: Path) -> Path | None:
    """Return the newest checkpoint whose files are what its `COMPLETE` says.

    Broken ones met on the way are renamed to `<name>.broken`: kept for a look, never read.
    """
    for checkpoint in list(_newest_first(folder)):
        if _is_complete(checkpoint):
            return checkpoint
        broken = checkpoint.with_name(f"{checkpoint.name}.broken")
        shutil.rmtree(broken, ignore_errors=True)
        checkpoint.rename(broken)
    return None


def _newest_first(folder: Path) -> Iterator[Path]:
    found = [p for p in folder.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdigit()]
    return iter(sorted(found, key=step_of, reverse=True))


def _is_complete(checkpoint: Path) -> bool:
    mark = checkpoint / _COMPLETE
    return mark.is_file() and mark.read_text(encoding="utf-8").strip() == _digest(checkpoint)


def _digest(checkpoint: Path) -> str:
    files = sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != _COMPLETE)
    return sha256_text("".join(f"{p.relative_to(checkpoint).as_posix()}\0{sha256_file(p)}\n" for p in files))
