"""The checkpoint as one graph: token ids in, a pooled vector of length 1 out. And what it is compared with."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weir.contracts.embedder import Pooling
from weir.contracts.errors import JobError
from weir_training.embedder.source import Source

_OPSET: Final = 18
_LEAST: Final = 1e-12
Vector = NDArray[np.float64]


class Pooled(nn.Module):
    """A model's last hidden states, pooled over the tokens that the mask names, then of length 1."""

    def __init__(self, model: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self._pooling = pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return [rows, dimensions]; both arguments are [rows, places] int64, rows padded at their end."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self._pooling == "cls":
            pooled = hidden[:, 0]
        elif self._pooling == "last":
            place = (attention_mask.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
            pooled = hidden.gather(1, place).squeeze(1)
        else:
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        length = (pooled * pooled).sum(1, keepdim=True).sqrt().clamp(min=_LEAST)
        vectors: Tensor = pooled / length
        return vectors


def load_model(source: Source) -> Any:
    """Return the checkpoint's body in float32; code that lies in the folder is never run.

    Raises:
        JobError: transformers does not load it.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # what must be told is raised
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            source.folder, dtype=torch.float32, use_safetensors=True, attn_implementation="eager"
        )
    except Exception as error:
        raise JobError(f"{source.folder}: transformers does not load this checkpoint: {error}") from error
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model.eval()


def write_graph(model: Any, source: Source, path: Path) -> None:
    """Write the graph: `input_ids`, `attention_mask` [rows, places] int64 → `embedding` [rows, dimensions] float32.

    Raises:
        JobError: it cannot be written as ONNX.
    """
    places = min(7, source.context_tokens)
    ids = torch.arange(2 * places).view(2, places) % source.vocab_size
    mask = torch.ones_like(ids)
    mask[1, places // 2 :] = 0
    rows_places = {0: "rows", 1: "places"}
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # that the older exporter is the older one
            torch.onnx.export(
                Pooled(model, source.pooling).eval(),
                (ids, mask),
                str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=["embedding"],
                dynamic_axes={"input_ids": rows_places, "attention_mask": rows_places, "embedding": {0: "rows"}},
                opset_version=_OPSET,
                dynamo=False,  # the newer one needs onnxscript
            )
    except Exception as error:
        raise JobError(f"{source.folder}: this architecture cannot be exported: {error}") from error


def reference(model: Any, source: Source, rows: Sequence[Sequence[int]]) -> list[Vector]:
    """Return each row's vector from the checkpoint itself, one row at a time, pooled apart from the graph's code."""
    vectors = []
    for row in rows:
        with torch.inference_mode():
            hidden = model(input_ids=torch.tensor([list(row)])).last_hidden_state[0].double().numpy()
        pooled = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[source.pooling]
        vectors.append(pooled / max(float(np.linalg.norm(pooled)), _LEAST))
    return vectors
