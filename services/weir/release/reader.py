"""Opens a release and refuses one that its manifest does not vouch for."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from weir.contracts.classifier import ClassifierFormat, ClassifierManifest
from weir.contracts.embedder import EmbedderFormat, EmbedderManifest
from weir.contracts.errors import ReleaseError
from weir.contracts.manifest import FileEntry, Format, ReleaseManifest
from weir.release.hashing import sha256_file

MANIFEST = "manifest.json"
COMPLETE = "COMPLETE"
TOKENIZER = "model/tokenizer.json"
AnyManifest = ReleaseManifest | ClassifierManifest | EmbedderManifest
M = TypeVar("M", ReleaseManifest, ClassifierManifest, EmbedderManifest)
F = TypeVar("F", Format, ClassifierFormat, EmbedderFormat)
_DOES: Final = {"classify": "classifies texts", "embed": "embeds texts"}
_GENERATES: Final = "generates text"


class WrongKindError(ReleaseError):
    """The release is whole, but of another kind; `task` as its manifest has it, none: it generates."""

    def __init__(self, root: Path, task: str | None, wanted: str | None) -> None:
        is_, should_be = (_GENERATES if one is None else _DOES[one] for one in (task, wanted))
        super().__init__(f"{root}: this release {is_}, and one that {should_be} is needed here")
        self.task = task


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
        return _chosen(self.root, self.manifest.formats, flavour or self.manifest.serve_flavour)

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
        return _chosen(self.root, self.manifest.formats, flavour or self.manifest.serve_flavour)


@dataclass(frozen=True, slots=True)
class EmbedderRelease:
    """As `Release`, of an embedder."""

    root: Path
    manifest: EmbedderManifest

    def format(self, flavour: str | None = None) -> EmbedderFormat:
        """Return the asked flavour, by default the one to serve.

        Raises:
            ReleaseError: the release has no such flavour, or it did not pass its gate.
        """
        return _chosen(self.root, self.manifest.formats, flavour or self.manifest.serve_flavour)


def _chosen(root: Path, formats: Sequence[F], wanted: str) -> F:
    found = next((one for one in formats if one.flavour == wanted), None)
    if found is None:
        have = ", ".join(one.flavour for one in formats)
        raise ReleaseError(f"{root.name}: no flavour {wanted!r} in this release (it has {have})")
    if not found.parity.passed:
        raise ReleaseError(f"{root.name}: flavour {wanted!r} failed its parity gate: {'; '.join(found.parity.reasons)}")
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


def open_embedder(root: Path) -> EmbedderRelease:
    """As `open_classifier`, of an embedder."""
    manifest = _parsed(EmbedderManifest, _raw(root), root)
    _check_files(root, manifest.files, None)
    return EmbedderRelease(root, manifest)


def open_any(root: Path) -> Release | ClassifierRelease | EmbedderRelease:
    """Open a release whatever its task is; every file is hashed.

    Raises:
        ReleaseError: as `open_release`.
    """
    match read_any_manifest(root):
        case ClassifierManifest():
            return open_classifier(root)
        case EmbedderManifest():
            return open_embedder(root)
        case _:
            return open_release(root)


def read_manifest(root: Path) -> ReleaseManifest:
    """Read and validate the manifest alone; files are not checked.

    Raises:
        ReleaseError: there is no complete release at `root`, its manifest does not fit the schema, or it is of
            another kind.
    """
    return _parsed(ReleaseManifest, _raw(root), root)


def read_any_manifest(root: Path) -> AnyManifest:
    """As `read_manifest`, whatever the release's task is."""
    raw = _raw(root)
    match _task(raw):
        case "classify":
            return _parsed(ClassifierManifest, raw, root)
        case "embed":
            return _parsed(EmbedderManifest, raw, root)
        case _:
            return _parsed(ReleaseManifest, raw, root)


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


def _task(raw: bytes) -> str | None:
    """Return what a release says that it does; none: it generates."""
    try:
        tree: Any = json.loads(raw)
    except ValueError:
        return None  # whoever parses it says what is wrong
    task = tree.get("task") if isinstance(tree, dict) else None
    return task if isinstance(task, str) and task in _DOES else None


def _parsed(model: type[M], raw: bytes, root: Path) -> M:
    task, field = _task(raw), model.model_fields.get("task")
    wanted = None if field is None else field.default
    if task != wanted:
        raise WrongKindError(root, task, wanted)
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
