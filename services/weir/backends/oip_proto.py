"""The gRPC form of the Open Inference Protocol: Triton's messages, of tritonclient, to and from plain bodies."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from tritonclient.grpc import service_pb2 as pb

from weir.backends.oip import extensions, sampling_parameters
from weir.contracts.errors import BackendError
from weir.contracts.request import GenerateRequest, SamplingParams

_TRUE: Final = b"\x01"
_FLAGS: Final = (
    "stream",
    "exclude_input_in_output",
    "return_finish_reason",
    "return_num_input_tokens",
    "return_num_output_tokens",
)
_BEAT: Final = GenerateRequest(id="beat", prompt="1", sampling=SamplingParams(max_new_tokens=1))
_TEXTS: Final = frozenset({"text_output", "finish_reason"})
_COUNTS: Final = frozenset({"num_input_tokens", "num_output_tokens"})
_LISTS: Final = frozenset({"tokens", "prompt_tokens"})


def _constant() -> bytes:
    request = pb.ModelInferRequest()
    for name, datatype in (
        ("text_input", "BYTES"),
        ("sampling_parameters", "BYTES"),
        *((flag, "BOOL") for flag in _FLAGS),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=[1])
    return bytes(request.SerializeToString())


_CONSTANT: Final = _constant()  # written once: messages that follow each other are one, and this is most of its cost


def infer_request(request: GenerateRequest, model: str) -> bytes:
    """Return the `ModelInferRequest` for Triton's vLLM backend, as it goes over the wire.

    What Weir adds to that backend's inputs rides in request parameters, which a model that knows none of them ignores;
    an adapter's name goes where the backend looks for it, into the sampling parameters.
    """
    return _CONSTANT + bytes(_changing(request, model).SerializeToString())


def _changing(request: GenerateRequest, model: str) -> Any:
    message = pb.ModelInferRequest(model_name=model, id=request.id)
    beyond = extensions(request)
    sampling = sampling_parameters(request.sampling)
    if "lora_name" in beyond:
        sampling["lora_name"] = beyond.pop("lora_name")
    message.raw_input_contents.extend(
        (_packed(request.prompt.encode()), _packed(orjson.dumps(sampling)), *(_TRUE for _ in _FLAGS))
    )
    if request.return_tokens:
        message.parameters["return_tokens"].bool_param = True
    if "priority" in beyond:  # Triton's own `priority` is another scale
        message.parameters["weir_priority"].int64_param = beyond["priority"]
    if "deadline_s" in beyond:
        message.parameters["deadline_s"].double_param = beyond["deadline_s"]
    if "cache_salt" in beyond:
        message.parameters["cache_salt"].string_param = beyond["cache_salt"]
    if request.traceparent is not None:  # as metadata it reaches Triton, but not the model
        message.parameters["traceparent"].string_param = request.traceparent
    if "prompt_token_ids" in beyond:
        message.parameters["prompt_token_ids"].string_param = orjson.dumps(beyond["prompt_token_ids"]).decode()
    return message


def beat_request(model: str) -> bytes:
    """Ask Weir's own model for a series of beats; any other one generates a token, and says that it has finished."""
    message = _changing(_BEAT, model)
    message.parameters["heartbeat"].bool_param = True
    return _CONSTANT + bytes(message.SerializeToString())


def body_of(response: Any, node: str) -> Mapping[str, Any]:
    """Return a `ModelStreamInferResponse` as the body that HTTP would have carried.

    Raises:
        BackendError: it is not what the protocol has.
    """
    infer = response.infer_response
    body: dict[str, Any] = {}
    try:
        for output, raw in zip(infer.outputs, infer.raw_output_contents, strict=True):
            name = output.name
            if name in _TEXTS:
                body[name] = "".join(_strings(raw))
            elif name in _COUNTS:
                body[name] = int.from_bytes(raw, "little")
            elif name in _LISTS:
                body[name] = [item for text in _strings(raw) for item in orjson.loads(text)]
    except (ValueError, TypeError) as error:
        raise BackendError(f"{node} sent something that is not the protocol") from error
    return body


def _packed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _strings(raw: bytes) -> list[str]:
    """Read a tensor of byte strings: each behind its length."""
    found = []
    at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if end > len(raw):
            raise ValueError("a string longer than its tensor")
        found.append(raw[at + 4 : end].decode())
        at = end
    return found
