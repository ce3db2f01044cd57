"""What Triton's python backend calls; a model repository's `model.py` imports this class."""

from pathlib import Path
from typing import Any

import orjson

from weir import __version__
from weir.engine.loading import load_engine
from weir.telemetry.logs import configure_logs
from weir.telemetry.tracing import open_tracing
from weir.triton_node.metrics import TritonMetrics
from weir.triton_node.node import TritonNode
from weir.triton_node.settings import read_settings


class WeirModel:
    """One version of one model. `pb` is Triton's `triton_python_backend_utils`."""

    def __init__(self, pb: Any) -> None:
        self._pb = pb
        self._node: TritonNode | None = None

    def initialize(self, args: dict[str, Any]) -> None:
        """Open the release and ask its golden prompts; an exception makes Triton keep the version it has.

        Raises:
            ReleaseError: the release is not what its manifest says.
            UsageError: a parameter of `config.pbtxt` is unknown or out of bounds.
        """
        configure_logs("triton")
        settings = read_settings(orjson.loads(args["model_config"]).get("parameters", {}))
        root = Path(args["model_repository"], settings.release or args["model_version"])
        metrics = TritonMetrics(self._pb, args["model_name"], int(args["model_version"]))
        flavour, engine = settings.flavour, settings.engine()
        tracing = open_tracing(settings.tracing(), "weir-triton", __version__)
        self._node = TritonNode(
            self._pb,
            args["model_name"],
            root,
            lambda: load_engine(root, flavour, engine, observer=metrics.steps),
            metrics,
            tracing,
        )

    def execute(self, requests: Any) -> None:
        if self._node is None:
            raise RuntimeError("execute before initialize")
        self._node.execute(requests)

    def finalize(self) -> None:
        if self._node is not None:
            self._node.finalize()
