"""A LoRA adapter beside a release, as `weir adapters add` puts it there, without the proof."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from tests.support.tiny_adapter import make_adapter
from tests.support.tiny_graph import lively_checkpoint
from weir.contracts.adapter import AdapterManifest
from weir.contracts.manifest import AdapterEntry, FileEntry
from weir.engine.adapters import read_adapter
from weir.release.added import ADAPTER, added_folder
from weir.release.hashing import sha256_file
from weir.release.reader import MANIFEST

FILES = ("adapter_config.json", "adapter_model.safetensors")


def add_adapter(root: Path, name: str, *, rank: int = 4, seed: int = 0) -> Path:
    """Put a random adapter called `name` beside the release at `root`; return its folder."""
    folder = added_folder(root) / name
    shutil.rmtree(folder, ignore_errors=True)
    make_adapter(lively_checkpoint(), folder, rank=rank, targets="all-linear", seed=seed)
    for path in folder.iterdir():
        if path.name not in FILES:
            path.unlink()
    manifest = AdapterManifest(
        model=root.parent.name,
        version=int(root.name),
        release_sha256=sha256_file(root / MANIFEST),
        created=datetime.now(UTC),
        entry=AdapterEntry(name=name, rank=read_adapter(folder).rank, mean_kl=0.0, argmax_agreement=1.0),
        files=tuple(
            FileEntry(path=file, sha256=sha256_file(folder / file), bytes=(folder / file).stat().st_size)
            for file in FILES
        ),
    )
    (folder / ADAPTER).write_text(manifest.model_dump_json())
    return folder
