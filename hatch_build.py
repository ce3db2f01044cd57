"""Builds the engine's operators and the guard's search, and puts the training side's data beside its code in a wheel.

An image that copies only services/ builds too. Without a C compiler both are left out: nodes serve the flavours that
plain onnxruntime runs, and the guard searches in Python.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_DATA = {
    "training/recipes": "weir_training/recipes",
    "training/examples": "weir_training/examples",
    "training/base/tiny_chat": "weir_training/base/tiny_chat",
}
_LIBRARIES = {  # where they are built: where they go, and what is lost without them
    "services/weir/engine/kernels": ("weir/engine/kernels", "nodes will serve the flavours of plain onnxruntime"),
    "services/weir/guard/native": ("weir/guard/native", "the guard will be slower"),
}


class DataHook(BuildHookInterface):  # type: ignore[type-arg]  # the plug-in name hatchling looks for is its own
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        built = {there: self._built(root / here, lost) for here, (there, lost) in _LIBRARIES.items()}
        if version == "editable":  # a checkout reads everything where it is
            return
        build_data["force_include"].update({str(root / s): d for s, d in _DATA.items() if (root / s).is_dir()})
        for there, library in built.items():
            if library is not None:
                build_data["force_include"][str(library)] = f"{there}/{library.name}"
                build_data["pure_python"], build_data["infer_tag"] = False, True

    def _built(self, folder: Path, lost: str) -> Path | None:
        spec = importlib.util.spec_from_file_location(f"weir_{folder.name}_build", folder / "build.py")
        if spec is None or spec.loader is None:
            return None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            return module.build()  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - no compiler, or one that fails: neither is a reason not to install
            self.app.display_warning(f"nothing built in {folder.name} ({error}); {lost}")
            sys.stderr.write(getattr(error, "stderr", None) or "")
            return None
