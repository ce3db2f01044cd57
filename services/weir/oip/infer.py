"""The infer form of the Open Inference Protocol v2, as classifiers speak it.

Request: `{"id"?, "inputs": [{"name": "text", "datatype": "BYTES", "shape": [n], "data": [texts]}], "outputs"?}`.
Answer: `{"model_name", "model_version", "id"?, "parameters": {"label", "threshold"}, "outputs": [{"name": "score",
"datatype": "FP32", "shape": [n], "data": [scores]}]}`: how likely each text is what `label` names, from `threshold` on
a find. A shape of `[n, 1]` is understood, too. Errors are as in `weir.oip.wire`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from weir.contracts.errors import ValidationError

MAX_TEXTS: Final = 256


@dataclass(frozen=True, slots=True)
class InferCall:
    """One parsed request."""

    texts: tuple[str, ...]
    id: str | None


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer: a score for each text, and from which one on the model itself would call it a find."""

    scores: tuple[float, ...]
    threshold: float


def parse_infer(body: bytes) -> InferCall:
    """Read a request.

    Raises:
        ValidationError: not JSON, or a field is missing, of the wrong type or out of bounds.
    """
    top, inputs, call_id = opened(body)
    if len(inputs) != 1:
        raise ValidationError("inputs: a list of one tensor named `text` is needed", "inputs")
    for number, wanted in enumerate(top.get("outputs") or ()):
        if not isinstance(wanted, dict) or wanted.get("name") != "score":
            field = f"outputs[{number}].name"
            raise ValidationError(f"{field}: the only output is `score`", field)
    return InferCall(texts_of(inputs[0]), call_id)


def opened(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]], str | None]:
    """Return a request as a whole, its tensors and its id.

    Raises:
        ValidationError: not JSON, or without a list of tensors.
    """
    try:
        top = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValidationError("body: not JSON", "body") from error
    if not isinstance(top, dict):
        raise ValidationError("body: a JSON object is needed", "body")
    inputs, call_id = top.get("inputs"), top.get("id")
    if not isinstance(inputs, list) or not all(isinstance(tensor, dict) for tensor in inputs):
        raise ValidationError("inputs: a list of tensors is needed", "inputs")
    return top, inputs, call_id if isinstance(call_id, str) else None


def texts_of(tensor: dict[str, Any]) -> tuple[str, ...]:
    """Read the tensor `text`, the first of a request.

    Raises:
        ValidationError: it is not one.
    """
    for name, wanted in (("name", "text"), ("datatype", "BYTES")):
        if tensor.get(name) != wanted:
            raise ValidationError(f"inputs[0].{name}: {wanted!r} is needed", f"inputs[0].{name}")
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not 1 <= len(data) <= MAX_TEXTS or not all(isinstance(t, str) for t in data):
        raise ValidationError(f"inputs[0].data: 1 to {MAX_TEXTS} strings are needed", "inputs[0].data")
    if shape not in ([len(data)], [len(data), 1]):
        raise ValidationError("inputs[0].shape: not the shape of the data", "inputs[0].shape")
    return tuple(data)


def infer_answer(call: InferCall, model: str, version: int, scored: Scored, label: str) -> bytes:
    """Return the body of an answer."""
    output = {"name": "score", "datatype": "FP32", "shape": [len(scored.scores)], "data": scored.scores}
    return answered(call.id, model, version, {"label": label, "threshold": scored.threshold}, output)


def answered(
    call_id: str | None, model: str, version: int, parameters: dict[str, Any], output: dict[str, Any]
) -> bytes:
    """Return the body of an answer with one output."""
    said: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if call_id is not None:
        said["id"] = call_id
    return orjson.dumps({**said, "parameters": parameters, "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)


def infer_request(texts: Sequence[str]) -> bytes:
    """Return the body of a request."""
    return orjson.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}]})


def read_scored(body: bytes, count: int) -> Scored:
    """Read an answer to a request of `count` texts.

    Raises:
        ValueError: it is not one.
    """
    top = orjson.loads(body)
    try:
        output = next(tensor for tensor in top["outputs"] if tensor["name"] == "score")
        scores, threshold = tuple(map(float, output["data"])), float(top["parameters"]["threshold"])
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError("no scores in it") from error
    if len(scores) != count or not all(0.0 <= value <= 1.0 for value in (*scores, threshold)):
        raise ValueError("not one score from 0 to 1 for each text")
    return Scored(scores, threshold)
