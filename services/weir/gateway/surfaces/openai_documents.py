"""The shapes of OpenAI's answers, for the OpenAPI document; answers are written without them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Literal["stop", "length", "content_filter", "tool_calls"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CompletionUsage(_Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class FunctionCalled(_Answer):
    name: str
    arguments: str = Field(description="JSON text")


class AssistantToolCall(_Answer):
    id: str
    type: Literal["function"]
    function: FunctionCalled


class AssistantMessage(_Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[AssistantToolCall] | None = None


class TopLogprob(_Answer):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """What stands for text that a rule replaced has log-probability 0 and no alternatives."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(_Answer):
    content: list[TokenLogprob]
    refusal: None


class ChatChoice(_Answer):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason


class ChatCompletion(_Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class FunctionDelta(_Answer):
    name: str | None = None
    arguments: str


class ToolCallDelta(_Answer):
    """The first one of a call has its id and its name."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChatDelta(_Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(_Answer):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Reason | None


class ChatCompletionChunk(_Answer):
    """The last one with a choice has the reason; after it one without choices has the usage, if that was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: CompletionUsage | None = None


class ErrorObject(_Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(_Answer):
    error: ErrorObject


class Model(_Answer):
    """An adapter is a model of its own, `model:adapter`; `parent` is the one it belongs to."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    version: int
    max_model_len: int
    parent: str | None = None


class ModelList(_Answer):
    object: Literal["list"]
    data: list[Model]


class CompletionLogprobs(_Answer):
    """Four lists of equal length; the first token of an echoed prompt has no log-probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(_Answer):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"]


class Completion(_Answer):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class CompletionChunkChoice(CompletionChoice):
    finish_reason: Literal["stop", "length", "content_filter"] | None  # type: ignore[assignment]


class CompletionChunk(_Answer):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChunkChoice]
    usage: CompletionUsage | None = None


class OutputText(_Answer):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob]


class OutputMessage(_Answer):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class InputTokensDetails(_Answer):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(_Answer):
    reasoning_tokens: int


class ResponseUsage(_Answer):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(_Answer):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseText(_Answer):
    format: dict[str, Any]


class ResponseObject(_Answer):
    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete"]
    background: Literal[False]
    error: None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, Any]
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool
    previous_response_id: None
    store: Literal[False]
    temperature: float | None
    text: ResponseText
    tool_choice: Literal["auto"]
    tools: list[Any]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None


class ResponseEvent(_Answer):
    """One of OpenAI's typed events; which fields it has is told by its type. `error` ends a stream that failed."""

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
    ]
    sequence_number: int
    response: ResponseObject | None = None
    item: OutputMessage | None = None
    part: OutputText | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    delta: str | None = None
    text: str | None = None
    logprobs: list[TokenLogprob] | None = None


class ResponseFailedEvent(OpenAIError, ErrorObject):
    """The error's own fields, and the error object once more, which the openai package raises by."""

    type: Literal["error"]
