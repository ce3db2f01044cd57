"""Puts the training side's data beside its code in a wheel. An image that copies only services/ builds too."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_DATA = {
    "training/recipes": "weir_training/recipes",
    "training/examples": "weir_training/examples",
    "training/base/tiny_chat": "weir_training/base/tiny_chat",
}


class DataHook(BuildHookInterface):  # type: ignore[type-arg]  # the plug-in name hatchling looks for is its own
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # a checkout reads them where they are
            return
        root = Path(self.root)
        build_data["force_include"].update({str(root / s): d for s, d in _DATA.items() if (root / s).is_dir()})
