"""Between Triton's tensors and the plain bodies of the Open Inference Protocol that `weir.oip.wire` reads and writes.

Inputs, outputs and their names are those of Triton's vLLM backend; what Weir adds rides in request parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from weir.contracts.errors import ValidationError
from weir.contracts.events import Finished, TokenChunk
from weir.contracts.trace import read_traceparent
from weir.oip.wire import NodeCall, parse_call

TEXTS: Final = ("text_input", "sampling_parameters")
FLAGS: Final = (
    "stream",
    "exclude_input_in_output",
    "return_finish_reason",
    "return_num_input_tokens",
    "return_num_output_tokens",
)
_GOING_ON: Final = "None"  # what vLLM's backend gives as the finish reason of an answer that goes on


def is_heartbeat(parameters: str) -> bool:
    """Whether a gateway wants to hear nothing but that this process lives."""
    return '"heartbeat"' in parameters and orjson.loads(parameters).get("heartbeat") is True


def read_call(tensors: Mapping[str, Any], parameters: str, *, model: str, request_id: str) -> NodeCall:
    """Read one request: `tensors` by input name (object arrays of bytes, bool arrays), `parameters` as JSON text.

    Raises:
        ValidationError: a field is missing, of the wrong type or out of bounds.
    """
    body: dict[str, Any] = {name: _text(tensors[name], name) for name in TEXTS if name in tensors}
    body |= {name: bool(tensors[name].reshape(-1)[0]) for name in FLAGS if name in tensors}
    body["parameters"] = given = _parameters(parameters)
    traceparent = read_traceparent(str(given.pop("traceparent", "")).encode())
    if "sampling_parameters" in body:
        body["sampling_parameters"] = _sampling(body["sampling_parameters"], body)
    return parse_call(orjson.dumps(body), model, request_id=request_id or None, traceparent=traceparent)


def _text(tensor: Any, name: str) -> str:
    if tensor.size != 1:
        raise ValidationError(f"{name}: one string is needed", name)
    value = tensor.reshape(-1)[0]
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise ValidationError(f"{name}: not UTF-8", name) from None


def _parameters(text: str) -> dict[str, Any]:
    given: dict[str, Any] = orjson.loads(text) if text else {}
    if "weir_priority" in given:  # Triton's own `priority` is another scale
        given["priority"] = given.pop("weir_priority")
    if isinstance(ids := given.get("prompt_token_ids"), str):  # parameters have no lists
        given["prompt_token_ids"] = _json(ids, "prompt_token_ids")
    return given


def _sampling(text: str, body: dict[str, Any]) -> Any:
    """Return the sampling parameters; an adapter's name stands among them, as vLLM's backend has it."""
    sampling = _json(text, "sampling_parameters")
    if isinstance(sampling, dict) and "lora_name" in sampling:
        body["lora_name"] = sampling.pop("lora_name")
    return sampling


def _json(text: str, field: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValidationError(f"{field}: not JSON", field) from None


Outputs = list[tuple[str, Any]]


class OutputWriter:
    """Writes one call's events as outputs: names with numpy arrays of one element (or one per text)."""

    def __init__(self, call: NodeCall) -> None:
        self._call = call
        self._prefix = call.request.prompt if call.repeat_input else ""

    def together(self, chunks: Sequence[TokenChunk], finished: Finished | None, *, whole: bool = False) -> Outputs:
        """Write what came since the last response, and the end if it came; `whole`: it is the only response."""
        outputs: Outputs = [("text_output", _bytes(self._prefixed("".join(chunk.text for chunk in chunks))))]
        brought = sum(chunk.token_count for chunk in chunks)
        if finished is not None:
            outputs += self._counts(finished, brought=finished.usage.completion_tokens if whole else brought)
        else:
            outputs += self._going_on(brought)
        return outputs + self._tokens(chunks) if chunks else outputs

    def _going_on(self, brought: int) -> Outputs:
        outputs: Outputs = [("finish_reason", _bytes(_GOING_ON))] if self._call.give_reason else []
        return [*outputs, ("num_output_tokens", _count(brought))] if self._call.give_output_count else outputs

    def _prefixed(self, text: str) -> str:
        prefix, self._prefix = self._prefix, ""
        return prefix + text

    def _counts(self, finished: Finished, *, brought: int) -> Outputs:
        counts: Outputs = []
        if self._call.give_reason:
            counts.append(("finish_reason", _bytes(finished.reason.value)))
        if self._call.give_input_count:
            counts.append(("num_input_tokens", _count(finished.usage.prompt_tokens)))
        if self._call.give_output_count:
            counts.append(("num_output_tokens", _count(brought)))
        return counts

    def _tokens(self, chunks: Sequence[TokenChunk]) -> Outputs:
        outputs: Outputs = []
        if prompt := [token for chunk in chunks for token in chunk.prompt]:
            outputs.append(("prompt_tokens", _bytes(orjson.dumps(prompt))))
        if self._call.request.gives_tokens:
            outputs.append(("tokens", _bytes(orjson.dumps([token for chunk in chunks for token in chunk.tokens]))))
        return outputs


def _bytes(text: str | bytes) -> Any:
    return np.array([text.encode() if isinstance(text, str) else text], dtype=np.object_)


def _count(number: int) -> Any:
    return np.array([number], dtype=np.uint32)
