"""Numbers of a model's versions, and the files that make a folder a release."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from weir.contracts.classifier import ClassifierManifest
from weir.contracts.embedder import EmbedderManifest
from weir.contracts.manifest import FileEntry, ReleaseManifest
from weir.release.hashing import sha256_file
from weir.release.reader import COMPLETE, MANIFEST
from weir_training.atomic import write_text
from weir_training.leftovers import remove_leftovers

_Manifest = TypeVar("_Manifest", ReleaseManifest, ClassifierManifest, EmbedderManifest)


@contextmanager
def one_publisher(model_dir: Path) -> Iterator[None]:
    """One publisher at a time: two must not take the same version. The kernel frees the lock when a process dies."""
    model_dir.mkdir(parents=True, exist_ok=True)
    with (model_dir / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def next_version(model_dir: Path) -> int:
    """Return the version to publish next, once nothing is left of attempts that died."""
    remove_leftovers(model_dir)
    return 1 + max((int(path.name) for path in model_dir.iterdir() if path.name.isdigit()), default=0)


def finished(draft: _Manifest, folder: Path) -> _Manifest:
    """Return the manifest with every file of `folder` in it; write it, and COMPLETE last."""
    manifest = draft.model_copy(update={"files": _entries(folder)})
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    write_text(folder / COMPLETE, sha256_file(folder / MANIFEST) + "\n")
    return manifest


def _entries(folder: Path) -> tuple[FileEntry, ...]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        FileEntry(path=p.relative_to(folder).as_posix(), sha256=sha256_file(p), bytes=p.stat().st_size) for p in files
    )
