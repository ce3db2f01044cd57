"""The shapes of the Triton-style answers, for the OpenAPI document; `weir.oip.wire` writes them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Literal["eos_token", "stop_sequence", "length", "content_filter"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TritonTopToken(_Answer):
    id: int
    text: str
    logprob: float


class TritonToken(_Answer):
    id: int
    text: str
    logprob: float
    special: bool
    top: list[TritonTopToken]


class TritonPromptToken(_Answer):
    id: int
    text: str
    logprob: float | None
    top: list[TritonTopToken]


class TritonAnswer(_Answer):
    model_name: str
    model_version: str
    id: str | None = None
    text_output: str
    prompt_tokens: list[TritonPromptToken] | None = None
    tokens: list[TritonToken] | None = None
    finish_reason: Reason | None = None
    num_input_tokens: int | None = None
    num_output_tokens: int | None = None


class TritonEvent(TritonAnswer):
    """`text_output` is what is new; the last event brings the reason and no text."""

    num_output_tokens: int | None = Field(default=None, description="what this event brought")


class TritonError(_Answer):
    error: str


class ServerMetadata(_Answer):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(_Answer):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Answer):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
