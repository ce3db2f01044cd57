"""Opens a release and refuses one that its manifest does not vouch for."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from weir.contracts.classifier import ClassifierFormat, ClassifierManifest
from weir.contracts.errors import ReleaseError
from weir.contracts.manifest import FileEntry, Format, ReleaseManifest
from weir.release.hashing import sha256_file

MANIFEST = "manifest.json"
COMPLETE = "COMPLETE"
M = TypeVar("M", ReleaseManifest, ClassifierManifest)


@dataclass(frozen=True, slots=True)
class Release:
    """A release whose files had the sizes and hashes its manifest says when it was opened (see `open_release`)."""

    root: Path
    manifest: ReleaseManifest

    @property
    def checkpoint(self) -> Path:
        return self.root / "model"

    def format(self, flavour: str | None = None) -> Format:
        """Return the asked flavour, by default the one to serve.

        Raises:
            ReleaseError: the release has no such flavour, or it did not pass its gate.
        """
        wanted = flavour or self.manifest.serve_flavour
        found = self.manifest.format_of(wanted)
        if found is None:
            have = ", ".join(f.flavour for f in self.manifest.formats)
            raise ReleaseError(f"{self.root.name}: no flavour {wanted!r} in this release (it has {have})")
        if not found.parity.passed:
            raise ReleaseError(
                f"{self.root.name}: flavour {wanted!r} failed its parity gate: {'; '.join(found.parity.reasons)}"
            )
        return found

    def graph(self, flavour: str | None = None) -> Path:
        return self.root / self.format(flavour).graph


@dataclass(frozen=True, slots=True)
class ClassifierRelease:
    """As `Release`, of a classifier."""

    root: Path
    manifest: ClassifierManifest

    def format(self, flavour: str | None = None) -> ClassifierFormat:
        """Return the asked flavour, by default the one to serve.

        Raises:
            ReleaseError: the release has no such flavour, or it did not pass its gate.
        """
        wanted = flavour or self.manifest.serve_flavour
        found = self.manifest.format_of(wanted)
        if found is None or not found.parity.passed:
            raise ReleaseError(f"{self.root.name}: no flavour {wanted!r} that passed its gate in this release")
        return found


def open_release(root: Path, *, reads: Callable[[str], bool] | None = None) -> Release:
    """Read the manifest at `root` and check every file it names.

    Args:
        root: `releases/<model>/<version>`.
        reads: says of a path in the release whether its bytes will be read. Of the others only presence and size are
            checked: a node that serves one flavour need not hash gigabytes of all others. None: all are hashed.

    Raises:
        ReleaseError: no such release, not complete, a file missing, altered or a link out of the release.
    """
    manifest = read_manifest(root)
    _check_files(root, manifest.files, reads)
    return Release(root, manifest)


def open_classifier(root: Path) -> ClassifierRelease:
    """As `open_release`, of a classifier; every file is hashed.

    Raises:
        ReleaseError: as `open_release`, or the release is of a model that generates.
    """
    manifest = _parsed(ClassifierManifest, _raw(root), root)
    _check_files(root, manifest.files, None)
    return ClassifierRelease(root, manifest)


def read_manifest(root: Path) -> ReleaseManifest:
    """Read and validate the manifest alone; files are not checked.

    Raises:
        ReleaseError: there is no complete release at `root`, its manifest does not fit the schema, or it is a
            classifier's.
    """
    return _parsed(ReleaseManifest, _raw(root), root)


def read_any_manifest(root: Path) -> ReleaseManifest | ClassifierManifest:
    """As `read_manifest`, whatever the release's task is."""
    raw = _raw(root)
    return _parsed(ClassifierManifest, raw, root) if _is_classifier(raw) else _parsed(ReleaseManifest, raw, root)


def _check_files(root: Path, files: Sequence[FileEntry], reads: Callable[[str], bool] | None) -> None:
    base = root.resolve()
    for entry in files:
        path = root / entry.path
        if not path.is_file():
            raise ReleaseError(f"{root}: {entry.path} is missing")
        if not path.resolve().is_relative_to(base):
            raise ReleaseError(f"{root}: {entry.path} leaves the release")
        is_read = reads is None or reads(entry.path)
        if path.stat().st_size != entry.bytes or (is_read and sha256_file(path) != entry.sha256):
            raise ReleaseError(f"{root}: {entry.path} is not the file its manifest names (size or sha256 differs)")


def _raw(root: Path) -> bytes:
    if not (root / MANIFEST).is_file():
        raise ReleaseError(f"{root}: no release here ({MANIFEST} is missing)")
    if not (root / COMPLETE).is_file():
        raise ReleaseError(f"{root}: this release was never finished ({COMPLETE} is missing)")
    raw = (root / MANIFEST).read_bytes()
    if (root / COMPLETE).read_text().strip() != sha256_file(root / MANIFEST):
        raise ReleaseError(f"{root}: {MANIFEST} is not the one this release was finished with (sha256 differs)")
    return raw


def _is_classifier(raw: bytes) -> bool:
    try:
        tree = json.loads(raw)
    except ValueError:
        return False  # whoever parses it says what is wrong
    return isinstance(tree, dict) and tree.get("task") == "classify"


def _parsed(model: type[M], raw: bytes, root: Path) -> M:
    if _is_classifier(raw) != (model is ClassifierManifest):
        is_what = "classifies texts" if _is_classifier(raw) else "generates text"
        raise ReleaseError(f"{root}: this release {is_what}; another kind is needed here")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(f"{root}: {MANIFEST}: {where}: {first['msg']}") from error


def newest_version(model_dir: Path) -> Path:
    """Return the highest complete version below `releases/<model>/`.

    Raises:
        ReleaseError: there is none.
    """
    versions = [p for p in model_dir.glob("*") if p.name.isdigit() and (p / COMPLETE).is_file()]
    if not versions:
        raise ReleaseError(f"{model_dir}: no complete release here")
    return max(versions, key=lambda p: int(p.name))
