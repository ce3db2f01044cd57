"""A node whose Triton serves TensorRT-LLM's LLM API model: other names for what is asked, and cumulative text.

Its inputs are `sampling_param_*` tensors; each response holds the whole text so far. It gives no counts: a response is
counted as one token, and of the prompt's the gateway has its own count. What it has no input for is refused by name.
Stop strings are watched here, so that their text is never shown and the node is told to stop.
"""

import struct
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Final

from tritonclient.grpc import service_pb2 as pb

from weir.backends.answer import AnswerReader
from weir.backends.grpc_node import GrpcNode
from weir.backends.pulse import NoPulseError
from weir.contracts.errors import BackendError, BackendTimeoutError, ValidationError
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.stops import StopMatcher

SCHEME: Final = "grpc+trtllm"
_REPLACEMENT: Final = "\ufffd"
_NOT_THERE: Final = (
    "min_p",
    "typical_p",
    "repetition_penalty",
    "logit_bias",
    "stop_token_ids",
    "min_new_tokens",
    "ignore_eos",
    "logprobs",
    "prompt_logprobs",
    "grammar",
)
_GOING_ON: Final = frozenset({"", "None"})


class TensorRtLlmNode(GrpcNode):
    """As `GrpcNode`, of a model in the layout that `weir triton --for tensorrt-llm` writes."""

    def _message(self, request: GenerateRequest) -> bytes:
        return bytes(infer_request(request, self._served(request)).SerializeToString())

    async def _beats(self) -> AsyncGenerator[None, None]:
        """It knows none: canaries alone say whether it lives."""
        raise NoPulseError
        yield  # which makes it the generator that it overrides

    def _reader(self, request: GenerateRequest) -> "CumulativeReader":
        return CumulativeReader(self.name, request)


def infer_request(request: GenerateRequest, model: str) -> Any:
    """Return the `ModelInferRequest`.

    Raises:
        ValidationError: something is asked for that TensorRT-LLM's LLM API model has no input for.
    """
    sampling = request.sampling
    _refuse_unsupported(request)
    message = pb.ModelInferRequest(model_name=model, id=request.id)
    add = _Adder(message)
    add.text("text_input", request.prompt)
    add.flag("streaming")
    add.flag("return_finish_reason")
    add.flag("sampling_param_exclude_input_from_output")
    if sampling.max_new_tokens is not None:
        add.packed("sampling_param_max_tokens", "INT32", "<i", sampling.max_new_tokens)
    if sampling.is_greedy:
        add.packed("sampling_param_top_k", "INT32", "<i", 1)
    else:
        _add_draws(add, sampling)
    for name in ("frequency_penalty", "presence_penalty"):
        if value := getattr(sampling, name):
            add.packed(f"sampling_param_{name}", "FP32", "<f", value)
    return message


def _add_draws(add: "_Adder", sampling: SamplingParams) -> None:
    add.packed("sampling_param_temperature", "FP32", "<f", sampling.temperature)
    if sampling.top_k:
        add.packed("sampling_param_top_k", "INT32", "<i", sampling.top_k)
    if sampling.top_p < 1.0:
        add.packed("sampling_param_top_p", "FP32", "<f", sampling.top_p)
    if sampling.seed is not None:
        add.packed("sampling_param_seed", "UINT64", "<Q", sampling.seed)


def _refuse_unsupported(request: GenerateRequest) -> None:
    for name in _NOT_THERE:
        if getattr(request.sampling, name) != SamplingParams.model_fields[name].default:
            raise ValidationError("the node that serves this model (TensorRT-LLM) does not know it", name)
    if request.adapter is not None:
        raise ValidationError("the node that serves this model (TensorRT-LLM) was given no adapters", "adapter")


class _Adder:
    """Appends inputs of one element to a request."""

    def __init__(self, message: Any) -> None:
        self._message = message

    def text(self, name: str, value: str) -> None:
        raw = value.encode()
        self._add(name, "BYTES", len(raw).to_bytes(4, "little") + raw)

    def flag(self, name: str) -> None:
        self._add(name, "BOOL", b"\x01")

    def packed(self, name: str, datatype: str, form: str, value: float) -> None:
        self._add(name, datatype, struct.pack(form, value))

    def _add(self, name: str, datatype: str, raw: bytes) -> None:
        self._message.inputs.add(name=name, datatype=datatype, shape=[1])
        self._message.raw_input_contents.append(raw)


class CumulativeReader(AnswerReader):
    """Turns texts that each hold all before them into events."""

    def __init__(self, node: str, request: GenerateRequest) -> None:
        super().__init__(node)
        self._stops = StopMatcher(request.sampling.stop)
        self._prompt_tokens = len(request.prompt_ids)
        self._seen = ""
        self._responses = 0
        self._unreported = 0

    def take(self, bodies: Iterable[Mapping[str, Any]]) -> list[GenerationEvent]:
        """As `AnswerReader.take`.

        Raises:
            BackendError: a text is not the one before it and more.
        """
        events: list[GenerationEvent] = []
        for body in bodies:
            visible, finished = self._step(str(body.get("text_output", "")), str(body.get("finish_reason", "")))
            if visible or (finished and self._unreported):
                events.append(TokenChunk(visible, self._unreported))
                self._unreported = 0
            if finished is not None:
                events.append(finished)
                break
        return events

    def _step(self, text: str, reason: str) -> tuple[str, Finished | None]:
        is_over = reason not in _GOING_ON
        whole = text if is_over else text.rstrip(_REPLACEMENT)  # a character may be half there
        if not whole.startswith(self._seen):
            raise BackendError(f"{self._node} took back what it had said")
        new, self._seen = whole[len(self._seen) :], whole
        self._responses += 1
        self._unreported += 1
        visible, stopped = self._stops.feed(new)
        if stopped:
            self.is_cut = not is_over
            return visible, self._finished(FinishReason.STOP)
        if not is_over:
            return visible, None
        return visible + self._stops.flush(), self._finished(self._why(reason))

    def _finished(self, reason: FinishReason) -> Finished:
        return Finished(reason, Usage(self._prompt_tokens, self._responses))

    def _why(self, reason: str) -> FinishReason:
        if reason == "stop":
            return FinishReason.EOS
        if reason == "length":
            return FinishReason.LENGTH
        if reason == "timeout":
            raise BackendTimeoutError(f"{self._node} ran out of its own time")
        raise BackendError(f"{self._node} ended an answer for a reason that is not in the protocol")
