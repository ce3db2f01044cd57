"""The shapes of OpenAI's answers, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Reason = Literal["stop", "length", "content_filter"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Usage(_Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AssistantMessage(_Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: None


class ChatChoice(_Answer):
    index: int
    message: AssistantMessage
    logprobs: None
    finish_reason: Reason


class ChatCompletion(_Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(_Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(_Answer):
    index: int
    delta: Delta
    logprobs: None
    finish_reason: Reason | None


class ChatCompletionChunk(_Answer):
    """The last one with a choice has the reason; after it one without choices has the usage, if that was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ErrorObject(_Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(_Answer):
    error: ErrorObject


class Model(_Answer):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    version: int
    max_model_len: int


class ModelList(_Answer):
    object: Literal["list"]
    data: list[Model]
