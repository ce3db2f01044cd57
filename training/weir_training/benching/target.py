"""What is measured: a known shape with random weights, or a release."""

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weir.contracts.errors import ReleaseError, UsageError
from weir.contracts.manifest import ReleaseManifest
from weir.release.reader import newest_version, read_manifest
from weir_training.benching.bench_release import release_of_shape
from weir_training.benching.contestants import Weights
from weir_training.benching.prompts import PromptMaker, TaskPrompts, WordPrompts, tokenizer_of
from weir_training.benching.shapes import CONTEXT_TOKENS, SHAPES, checkpoint_of
from weir_training.progress import Progress

_TABLES: Final = ("embed_tokens", "lm_head")


@dataclass(frozen=True, slots=True)
class Target:
    """A checkpoint for the peers, and a release of the same weights for Weir; what is converted is kept in `folder`."""

    name: str
    folder: Path
    checkpoint: Path
    release: Path
    manifest: ReleaseManifest
    weights: Weights
    context_tokens: int
    prompts: PromptMaker

    def graph(self, flavour: str) -> Path:
        found = self.manifest.format_of(flavour)
        if found is None:
            have = ", ".join(f.flavour for f in self.manifest.formats)
            raise UsageError(f"{self.name} has no flavour {flavour} (it has {have})")
        return self.release / found.graph


def open_target(name: str, flavours: Sequence[str], home: Path, progress: Progress) -> Target:
    """Return a shape (made on first use, with the flavours asked for) or a release (with those it has).

    Raises:
        UsageError: neither a known shape nor a release.
        JobError: a graph could not be exported.
    """
    if name in SHAPES:
        return _shape(name, flavours, home / "bench" / "shapes" / name, progress)
    return _release(find_release(name, home), home)


def _shape(name: str, flavours: Sequence[str], folder: Path, progress: Progress) -> Target:
    checkpoint = checkpoint_of(name, folder / "checkpoint")
    release = release_of_shape(name, checkpoint, flavours, folder, progress)
    prompts = WordPrompts(tokenizer_of(checkpoint))
    manifest = read_manifest(release)
    return Target(name, folder, checkpoint, release, manifest, count_weights(checkpoint), CONTEXT_TOKENS, prompts)


def _release(root: Path, home: Path) -> Target:
    manifest = read_manifest(root)
    checkpoint = root / "model"
    name = f"{manifest.model}/{manifest.version}"
    digest = hashlib.sha256((root / "manifest.json").read_bytes()).hexdigest()[:8]
    folder = home / "bench" / "releases" / f"{manifest.model}-{manifest.version}-{digest}"
    prompts = TaskPrompts(tokenizer_of(checkpoint), [golden.prompt for golden in manifest.golden])
    weights = count_weights(checkpoint)
    return Target(name, folder, checkpoint, root, manifest, weights, manifest.context_tokens, prompts)


def find_release(name: str, home: Path) -> Path:
    """Return the folder of MODEL (its newest version), MODEL/VERSION, or a path.

    Raises:
        UsageError: there is none of that name.
    """
    for folder in (home / "releases" / name, Path(name)):
        if (folder / "manifest.json").is_file():
            return folder
    try:
        return newest_version(home / "releases" / name)
    except ReleaseError as error:
        raise UsageError(
            f"{name}: no shape ({', '.join(SHAPES)}) and no release in {home / 'releases'}; `weir releases` lists them"
        ) from error


def count_weights(checkpoint: Path) -> Weights:
    """Read them off the headers of the safetensors (8 bytes of length, then JSON)."""
    sizes: dict[str, int] = {}
    for path in sorted(checkpoint.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        sizes |= {name: math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    tables = {name: size for name, size in sizes.items() if name.split(".")[-2] in _TABLES}
    total = sum(sizes.values())
    return Weights(total, total - sum(tables.values()), max(tables.values(), default=0))
