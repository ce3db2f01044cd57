"""Builds the engine's operators, and puts the training side's data beside its code in a wheel.

An image that copies only services/ builds too. Without a C compiler the operators are left out, and nodes serve the
flavours that plain onnxruntime runs.
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
_KERNELS = "services/weir/engine/kernels"


class DataHook(BuildHookInterface):  # type: ignore[type-arg]  # the plug-in name hatchling looks for is its own
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        library = self._operators(root / _KERNELS)
        if version == "editable":  # a checkout reads everything where it is
            return
        build_data["force_include"].update({str(root / s): d for s, d in _DATA.items() if (root / s).is_dir()})
        if library is not None:
            build_data["force_include"][str(library)] = f"weir/engine/kernels/{library.name}"
            build_data["pure_python"], build_data["infer_tag"] = False, True

    def _operators(self, folder: Path) -> Path | None:
        spec = importlib.util.spec_from_file_location("weir_operators_build", folder / "build.py")
        if spec is None or spec.loader is None:
            return None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            return module.build()  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - no compiler, or one that fails: neither is a reason not to install
            self.app.display_warning(
                f"no operators built ({error}); nodes will serve the flavours of plain onnxruntime"
            )
            sys.stderr.write(getattr(error, "stderr", None) or "")
            return None
