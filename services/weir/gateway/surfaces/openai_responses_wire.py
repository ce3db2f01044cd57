"""The body of `/v1/responses`: text in, text out, nothing kept."""

from typing import Any, Literal

from pydantic import Field

from weir.contracts.errors import ValidationError
from weir.contracts.grammar import Grammar, JsonObject
from weir.contracts.request import Message
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.base import Wire
from weir.gateway.surfaces.openai_wire import Sampled, schema_grammar

LOGPROBS = "message.output_text.logprobs"
_TEXT_PARTS = frozenset({"input_text", "output_text", "text"})


class InputPart(Wire):
    type: str
    text: str | None = None


class InputItem(Wire):
    """A message. Items of other types belong to tools and to reasoning."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[InputPart] | None = None


class TextFormat(Wire):
    type: str = "text"
    name: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextConfig(Wire):
    format: TextFormat | None = None


class ResponsesBody(Sampled):
    """Every field but `input` may be null or left out. Nothing is stored: `store` must not be true."""

    input: str | list[InputItem] = Field(max_length=1_048_576)
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    text: TextConfig | None = None
    stream: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    metadata: dict[str, Any] | None = None
    user: str | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    tools: list[Any] | None = None
    truncation: str | None = None

    @property
    def with_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)


def check(body: ResponsesBody) -> None:
    """Refuse what would otherwise be ignored without a word.

    Raises:
        UnsupportedError: state, tools or another feature that Weir does not have here.
    """
    stateless = "`{}`: this gateway keeps no responses; send the whole conversation as `input`"
    for name in ("previous_response_id", "conversation", "store", "background"):
        if getattr(body, name):
            raise UnsupportedError(name, stateless.format(name))
    if body.tools:
        raise UnsupportedError("tools", "`tools`: use /v1/chat/completions, which has them")
    if body.prompt is not None:
        raise UnsupportedError("prompt")
    if body.truncation not in {None, "disabled"}:
        raise UnsupportedError("truncation")
    if any(name != LOGPROBS for name in body.include or ()):
        raise UnsupportedError("include", f"`include`: only {LOGPROBS} is supported yet")


def messages_of(body: ResponsesBody) -> tuple[Message, ...]:
    """Return the conversation, `instructions` first.

    Raises:
        ValidationError: there is no input.
        UnsupportedError: an item that is no message, or a part that is not text.
    """
    first = [Message(role="system", content=body.instructions)] if body.instructions else []
    if not body.input:
        raise ValidationError("`input` cannot be empty", "input")
    if isinstance(body.input, str):
        return (*first, Message(role="user", content=body.input))
    return (*first, *(_message(f"input.{number}", item) for number, item in enumerate(body.input)))


def grammar_of(body: ResponsesBody) -> Grammar | None:
    form = body.text.format if body.text is not None else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return JsonObject()
    if form.type != "json_schema":
        known = "text, json_object, json_schema"
        raise ValidationError(f"`text.format.type`: one of {known} is needed", "text.format.type")
    return schema_grammar("text.format.schema", form.schema_)


def _message(where: str, item: InputItem) -> Message:
    if item.type not in {None, "message"} or item.role is None:
        raise UnsupportedError(f"{where}.type", f"`{where}`: only items of type `message` are supported yet")
    content = item.content
    if isinstance(content, list):
        if any(part.type not in _TEXT_PARTS for part in content):
            raise UnsupportedError(f"{where}.content", f"`{where}.content`: only parts of text are supported yet")
        content = "".join(part.text or "" for part in content)
    return Message(role="system" if item.role == "developer" else item.role, content=content or "")
