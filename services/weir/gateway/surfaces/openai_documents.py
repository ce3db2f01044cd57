"""The shapes of OpenAI's answers, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Reason = Literal["stop", "length", "content_filter", "tool_calls"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Usage(_Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenTop(_Answer):
    """`bytes` is null for part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenScore(TokenTop):
    top_logprobs: list[TokenTop]


class ChatScores(_Answer):
    content: list[TokenScore]
    refusal: None


class FunctionCall(_Answer):
    """`arguments` is JSON text."""

    name: str
    arguments: str


class MadeCall(_Answer):
    id: str
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(_Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[MadeCall] | None = None


class ChatChoice(_Answer):
    index: int
    message: AssistantMessage
    logprobs: ChatScores | None
    finish_reason: Reason


class ChatCompletion(_Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class FunctionDelta(_Answer):
    name: str | None = None
    arguments: str


class CallDelta(_Answer):
    """The first one of an `index` has the id and the name; the arguments of all, joined, are JSON."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class Delta(_Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChunkChoice(_Answer):
    index: int
    delta: Delta
    logprobs: ChatScores | None
    finish_reason: Reason | None


class ChatCompletionChunk(_Answer):
    """The last one with a choice has the reason; after it one without choices has the usage, if that was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class CompletionScores(_Answer):
    """Four lists of one length; the first token of an echoed prompt has no scores."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(_Answer):
    index: int
    text: str
    logprobs: CompletionScores | None
    finish_reason: Reason


class Completion(_Answer):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class CompletionChunkChoice(_Answer):
    index: int
    text: str
    logprobs: CompletionScores | None
    finish_reason: Reason | None


class CompletionChunk(_Answer):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    usage: Usage | None = None


class OutputText(_Answer):
    type: Literal["output_text"]
    text: str
    annotations: list[str]
    logprobs: list[TokenScore]


class OutputMessage(_Answer):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["completed", "incomplete"]
    content: list[OutputText]


class Lacking(_Answer):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseUsage(_Answer):
    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class TextResponse(BaseModel):
    """What was asked is repeated in further fields."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete"]
    incomplete_details: Lacking | None
    model: str
    output: list[OutputMessage]
    store: Literal[False]
    usage: ResponseUsage | None


class ResponseEvent(BaseModel):
    """The event's name is its type; what else it has depends on it. An `error` has no number, and is the last one."""

    model_config = ConfigDict(extra="allow")

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "error",
    ]
    sequence_number: int | None = None


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
    parent: str | None


class ModelList(_Answer):
    object: Literal["list"]
    data: list[Model]
