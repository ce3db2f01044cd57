"""What the node says for its embedders; see `weir.oip.embed` for the form."""

import base64
from time import monotonic
from typing import Any

import numpy as np

from weir.cpu_node.scoring import outcome_of
from weir.engine.embedder import TextEmbedder
from weir.oip.embed import embed_answer, embedder_metadata, parse_embed
from weir.telemetry.node_metrics import NodeMetrics


async def embedded_answer(embedder: TextEmbedder, body: bytes, metrics: NodeMetrics) -> bytes:
    """Return the body of the answer to an infer request, and count how it ended.

    Raises:
        ValidationError: the body is no such request, or a row is too long.
        OverloadedError, BackendUnavailableError, BackendError: as `TextEmbedder.vectors`.
    """
    began, outcome, info = monotonic(), "error", embedder.info
    try:
        call = parse_embed(body)
        rows = call.rows or [embedder.tokenizer.encode_whole(text) for text in call.texts]
        vectors = await embedder.vectors(rows)
        outcome = "embedded"
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        metrics.infer_ended(outcome)
    metrics.embedded_texts.inc(len(rows))
    metrics.infer_seconds.observe(monotonic() - began)
    data: Any = vectors.ravel()
    if call.is_base64:
        data = [base64.b64encode(row.astype("<f4", copy=False)).decode() for row in np.ascontiguousarray(vectors)]
    tokens = sum(map(len, rows))
    return embed_answer(call, info.model, info.version, data, (len(rows), info.dimensions), tokens)


def embedding_metadata(embedder: TextEmbedder) -> dict[str, Any]:
    info = embedder.info
    return {
        **embedder_metadata(info.model, info.version, "weir_onnxruntime", info.dimensions),
        "parameters": {
            "task": "embed",
            "flavour": info.flavour,
            "context_tokens": info.context_tokens,
            "dimensions": info.dimensions,
            "waiting": embedder.waiting,
        },
    }
