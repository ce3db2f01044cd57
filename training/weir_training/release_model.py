"""The `model/` folder of a release: the merged checkpoint, as others may load it."""

import shutil
from pathlib import Path
from typing import Final

from weir.contracts.errors import CheckFailedError

# Weights as safetensors, words about them as text. Pickles run code when they are read: none leaves this machine.
CHECKPOINT_SUFFIXES: Final = frozenset({".safetensors", ".json", ".txt", ".jinja"})
TEMPLATE: Final = "chat_template.jinja"


def copy_checkpoint(source: Path, target: Path) -> None:
    """Fill the new folder `target` with the whitelisted files of a merged checkpoint.

    Copies, not hard links: whoever edits the run's files must not alter a release.

    Raises:
        CheckFailedError: there are no safetensors.
    """
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in CHECKPOINT_SUFFIXES:
            shutil.copyfile(path, target / path.name)
    if not any(target.glob("*.safetensors")):
        raise CheckFailedError(f"{source}: no safetensors; other weights are not published")
