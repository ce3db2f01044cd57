"""Adapters beside a release, which itself never changes: `<model>/adapters/<version>/<name>`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from weir.contracts.adapter import AdapterManifest
from weir.contracts.errors import ReleaseError, UnknownModelError
from weir.contracts.request import MODEL_NAME
from weir.release.hashing import sha256_file
from weir.release.reader import MANIFEST

ADAPTER: Final = "adapter.json"


@dataclass(frozen=True, slots=True)
class Added:
    """`stamp` differs when another adapter was put under the same name."""

    name: str
    folder: Path
    stamp: str


def added_folder(root: Path) -> Path:
    """Return where the adapters of the release at `root` lie; links into a model repository are followed."""
    release = root.resolve()
    return release.parent / "adapters" / release.name


def added_adapters(root: Path) -> tuple[Added, ...]:
    """Return what lies beside the release now, by name; nothing is checked."""
    found = sorted(added_folder(root).glob(f"*/{ADAPTER}"))
    return tuple(
        Added(path.parent.name, path.parent, sha256_file(path))
        for path in found
        if re.fullmatch(MODEL_NAME, path.parent.name)
    )


def open_added(root: Path, name: str) -> Path:
    """Check an adapter's files and that it was proven on the release at `root`; return its folder.

    Raises:
        UnknownModelError: there is none of this name.
        ReleaseError: it is not what its manifest says, or another release's.
    """
    folder = added_folder(root) / name
    if not re.fullmatch(MODEL_NAME, name) or not (folder / ADAPTER).is_file():
        raise UnknownModelError(f"no adapter {name} was published for {root.resolve().parent.name}/{root.name}")
    try:
        manifest = AdapterManifest.model_validate_json((folder / ADAPTER).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ReleaseError(f"adapter {name}: {ADAPTER}: {where}: {first['msg']}") from error
    if manifest.release_sha256 != sha256_file(root / MANIFEST):
        raise ReleaseError(f"adapter {name}: it was proven on another release than {root.name}")
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise ReleaseError(f"adapter {name}: {entry.path} is missing")
        if path.stat().st_size != entry.bytes or sha256_file(path) != entry.sha256:
            raise ReleaseError(f"adapter {name}: {entry.path} is not the file that {ADAPTER} names")
    return folder
