"""The backend `weir` of Triton: `--backend-directory` holds this folder beside `python`. A release is its data only."""

import triton_python_backend_utils as pb_utils

from weir.triton_node.model import WeirModel


class TritonPythonModel(WeirModel):
    """What Triton looks for."""

    def __init__(self) -> None:
        super().__init__(pb_utils)
