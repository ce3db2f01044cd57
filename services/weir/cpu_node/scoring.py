"""What the node says for its classifiers; see `weir.oip.infer` for the form."""

import asyncio
from time import monotonic
from typing import Any

from weir.contracts.errors import BackendUnavailableError, OverloadedError, RequestRejectedError
from weir.engine.classifier import TextClassifier
from weir.oip.infer import Scored, infer_answer, parse_infer
from weir.oip.metadata import classifier_metadata
from weir.telemetry.node_metrics import NodeMetrics


async def scored_answer(classifier: TextClassifier, body: bytes, metrics: NodeMetrics) -> bytes:
    """Return the body of the answer to an infer request, and count how it ended.

    Raises:
        ValidationError: the body is no such request.
        OverloadedError, BackendUnavailableError, BackendError: as `TextClassifier.scores`.
    """
    began, outcome, info = monotonic(), "error", classifier.info
    try:
        call = parse_infer(body)
        scores = await classifier.scores(call.texts)
        outcome = "scored"
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        metrics.infer_ended(outcome)
    metrics.scored_texts.inc(len(scores))
    metrics.infer_seconds.observe(monotonic() - began)
    return infer_answer(call, info.model, info.version, Scored(tuple(scores), info.threshold), info.sought)


def outcome_of(error: BaseException) -> str:
    """Return how metrics call what became of a request that failed."""
    match error:
        case RequestRejectedError():
            return "rejected"
        case OverloadedError():
            return "overloaded"
        case BackendUnavailableError():
            return "unavailable"
        case asyncio.CancelledError():
            return "cancelled"
        case _:
            return "error"


def scoring_metadata(classifier: TextClassifier) -> dict[str, Any]:
    info = classifier.info
    return {
        **classifier_metadata(info.model, info.version, "weir_onnxruntime"),
        "parameters": {
            "task": "classify",
            "flavour": info.flavour,
            "label": info.sought,
            "threshold": info.threshold,
            "waiting": classifier.waiting,
        },
    }
