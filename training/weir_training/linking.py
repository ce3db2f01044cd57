"""Shows a release to what serves it: a link in the model repository."""

import os
from pathlib import Path

from weir_training.triton_entry import write_entry


def default_repository(home: Path) -> Path:
    """`model_repository` beside the home (a checkout has one), else inside it."""
    beside = home.resolve().parent / "model_repository"
    return beside if beside.is_dir() else home / "model_repository"


def link_release(root: Path, repository: Path) -> Path:
    """Make `<repository>/<model>/<version>` a relative link to the release at `root`; an older link is replaced.

    The model's `config.pbtxt` for Triton is written once.
    """
    link = repository / root.parent.name / root.name
    link.parent.mkdir(parents=True, exist_ok=True)
    write_entry(link.parent)
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(root.resolve(), link.parent.resolve()), target_is_directory=True)
    temporary.replace(link)
    return link
