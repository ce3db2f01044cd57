"""The infer form of the Open Inference Protocol v2, as embedders speak it.

Request: texts as a classifier takes them (`weir.oip.infer`), or tokens: `{"inputs": [{"name": "input_ids", "datatype":
"INT64", "shape": [total], "data": [ids of all rows]}, {"name": "lengths", "datatype": "INT64", "shape": [n], "data":
[tokens of each row]}], "parameters"?: {"encoding": "base64"}}`.
Answer: `{"model_name", "model_version", "id"?, "parameters": {"tokens": read in all}, "outputs": [{"name": "embedding",
"datatype": "FP32", "shape": [n, dimensions], "data": [...]}]}`: the numbers of all rows, or with `base64` one text a
row: its float32 numbers, the lowest byte first. Errors are as in `weir.oip.wire`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from weir.contracts.errors import ValidationError
from weir.oip.infer import MAX_TEXTS, answered, opened, texts_of

MAX_ROWS: Final = MAX_TEXTS
_LARGEST_ID: Final = 2**31


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """One parsed request: texts or rows of token ids."""

    texts: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    id: str | None
    is_base64: bool


@dataclass(frozen=True, slots=True)
class Embedded:
    """One answer: the base64 text of each row's float32 numbers."""

    rows: tuple[str, ...]
    dimensions: int


def parse_embed(body: bytes) -> EmbedCall:
    """Read a request.

    Raises:
        ValidationError: not JSON, or a field is missing, of the wrong type or out of bounds.
    """
    top, tensors, call_id = opened(body)
    parameters = top.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValidationError("parameters: an object is needed", "parameters")
    encoding = parameters.get("encoding")
    if encoding not in {None, "base64"}:
        raise ValidationError("parameters.encoding: 'base64' or nothing", "parameters.encoding")
    texts, rows = _read(tensors)
    return EmbedCall(texts, rows, call_id, encoding is not None)


def _read(tensors: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    names = [tensor.get("name") for tensor in tensors]
    if names == ["text"]:
        return texts_of(tensors[0]), ()
    if names != ["input_ids", "lengths"]:
        raise ValidationError("inputs: one tensor `text`, or `input_ids` and `lengths`, is needed", "inputs")
    ids, lengths = (_integers(tensor, f"inputs[{number}]") for number, tensor in enumerate(tensors))
    if not 1 <= len(lengths) <= MAX_ROWS:
        raise ValidationError(f"inputs[1].data: 1 to {MAX_ROWS} lengths are needed", "inputs[1].data")
    if min(lengths) < 1 or sum(lengths) != len(ids):
        raise ValidationError("inputs[1].data: not the lengths of rows of the ids", "inputs[1].data")
    rows, at = [], 0
    for length in lengths:
        rows.append(tuple(ids[at : at + length]))
        at += length
    return (), tuple(rows)


def _integers(tensor: dict[str, Any], where: str) -> list[int]:
    data = tensor.get("data")
    if tensor.get("datatype") != "INT64" or not isinstance(data, list) or tensor.get("shape") != [len(data)]:
        raise ValidationError(f"{where}: an INT64 tensor of one dimension is needed", where)
    if not all(type(value) is int and 0 <= value < _LARGEST_ID for value in data):
        raise ValidationError(f"{where}.data: integers from 0 on are needed", f"{where}.data")
    return data


def embed_answer(call: EmbedCall, model: str, version: int, data: Any, shape: tuple[int, int], tokens: int) -> bytes:
    """Return the body of an answer; `data` are the base64 texts of rows, or a flat array of numbers."""
    output = {"name": "embedding", "datatype": "FP32", "shape": shape, "data": data}
    return answered(call.id, model, version, {"tokens": tokens}, output)


def embed_request(rows: Sequence[Sequence[int]]) -> bytes:
    """Return the body of a request for vectors of rows of token ids, as base64."""
    ids = [token for row in rows for token in row]
    lengths = [len(row) for row in rows]
    tensors = [
        {"name": name, "datatype": "INT64", "shape": [len(data)], "data": data}
        for name, data in (("input_ids", ids), ("lengths", lengths))
    ]
    return orjson.dumps({"inputs": tensors, "parameters": {"encoding": "base64"}})


def read_embedded(body: bytes, count: int) -> Embedded:
    """Read an answer to a request of `count` rows.

    Raises:
        ValueError: it is not one.
    """
    top = orjson.loads(body)
    try:
        output = next(tensor for tensor in top["outputs"] if tensor["name"] == "embedding")
        (rows, dimensions), data = output["shape"], tuple(output["data"])
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise ValueError("no vectors in it") from error
    chars = -(-4 * dimensions // 3) * 4 if type(dimensions) is int else 0
    is_whole = rows == len(data) == count and all(isinstance(row, str) and len(row) == chars for row in data)
    if not is_whole:
        raise ValueError("not one vector for each row")
    return Embedded(data, dimensions)


def embedder_metadata(name: str, version: int, platform: str, dimensions: int) -> dict[str, Any]:
    """Return the metadata of a model that embeds."""
    return {
        "name": name,
        "versions": [str(version)],
        "platform": platform,
        "inputs": [
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
            {"name": "input_ids", "datatype": "INT64", "shape": [-1]},
            {"name": "lengths", "datatype": "INT64", "shape": [-1]},
        ],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, dimensions]}],
    }
