"""The body of `/v1/responses`: text in, text or calls of functions out, nothing kept."""

from typing import Any, Literal

from pydantic import Field

from weir.contracts.errors import ValidationError
from weir.contracts.grammar import Grammar, JsonObject
from weir.contracts.request import Message, ToolCall, ToolUse
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.base import Wire
from weir.gateway.surfaces.openai_chat_wire import NAME, FunctionDefinition, arguments_of, use_of
from weir.gateway.surfaces.openai_wire import Sampled, schema_grammar

LOGPROBS = "message.output_text.logprobs"
_TEXT_PARTS = frozenset({"input_text", "output_text", "text"})


class InputPart(Wire):
    type: str
    text: str | None = None


class InputItem(Wire):
    """A message, a call that was made, or what came of one. Items of other types belong to reasoning and such."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[InputPart] | None = None
    call_id: str | None = Field(default=None, max_length=128)
    name: str | None = Field(default=None, pattern=NAME)
    arguments: str | None = None
    output: str | list[InputPart] | None = None


class ResponseTool(Wire):
    """A function; unlike in chat, its fields stand beside `type`."""

    type: str
    name: str | None = Field(default=None, pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunctionTool(Wire):
    type: Literal["function"]
    name: str


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
    tools: list[ResponseTool] | None = Field(default=None, max_length=64)
    tool_choice: Literal["none", "auto", "required"] | NamedFunctionTool | None = None
    parallel_tool_calls: bool | None = None
    truncation: str | None = None

    @property
    def with_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)


def check(body: ResponsesBody) -> None:
    """Refuse what would otherwise be ignored without a word.

    Raises:
        UnsupportedError: state, tools that are no functions, or another feature that Weir does not have here.
    """
    stateless = "`{}`: this gateway keeps no responses; send the whole conversation as `input`"
    for name in ("previous_response_id", "conversation", "store", "background"):
        if getattr(body, name):
            raise UnsupportedError(name, stateless.format(name))
    if any(tool.type != "function" or tool.name is None for tool in body.tools or ()):
        raise UnsupportedError("tools", "`tools`: only tools of type `function`, with a `name`, are supported yet")
    if body.prompt is not None:
        raise UnsupportedError("prompt")
    if body.truncation not in {None, "disabled"}:
        raise UnsupportedError("truncation")
    if any(name != LOGPROBS for name in body.include or ()):
        raise UnsupportedError("include", f"`include`: only {LOGPROBS} is supported yet")


def messages_of(body: ResponsesBody) -> tuple[Message, ...]:
    """Return the conversation, `instructions` first; calls that follow one another are one turn of the assistant.

    Raises:
        ValidationError: there is no input, or an output of no call.
        UnsupportedError: an item of another kind, or a part that is not text.
    """
    first = [Message(role="system", content=body.instructions)] if body.instructions else []
    if not body.input:
        raise ValidationError("`input` cannot be empty", "input")
    if isinstance(body.input, str):
        return (*first, Message(role="user", content=body.input))
    turns: list[Message] = first
    for number, item in enumerate(body.input):
        _add(turns, f"input.{number}", item)
    return tuple(turns)


def tool_use_of(body: ResponsesBody) -> ToolUse | None:
    """Return the tools; raises as `weir.gateway.surfaces.openai_chat_wire.use_of`."""
    choice = body.tool_choice
    functions = [
        FunctionDefinition(name=tool.name or "", description=tool.description, parameters=tool.parameters)
        for tool in body.tools or ()
    ]
    only = choice.name if isinstance(choice, NamedFunctionTool) else None
    word = None if isinstance(choice, NamedFunctionTool) else choice
    parallel = body.parallel_tool_calls is not False
    return use_of(functions, word, only=only, only_field="tool_choice.name", parallel=parallel)


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


def _add(turns: list[Message], where: str, item: InputItem) -> None:
    match item.type:
        case "function_call":
            call = _call(where, item)
            is_same_turn = bool(turns) and turns[-1].role == "assistant"
            turn = turns.pop() if is_same_turn else Message(role="assistant", content="")
            turns.append(turn.model_copy(update={"tool_calls": (*turn.tool_calls, call)}))
        case "function_call_output":
            if not any(call.id == item.call_id for turn in turns for call in turn.tool_calls):
                raise ValidationError(f"`{where}.call_id`: no call of this id stands before it", f"{where}.call_id")
            turns.append(Message(role="tool", content=_text(f"{where}.output", item.output), tool_call_id=item.call_id))
        case _:
            turns.append(_message(where, item))


def _call(where: str, item: InputItem) -> ToolCall:
    if item.call_id is None or item.name is None:
        raise ValidationError(f"`{where}`: a call has a `call_id` and a `name`", where)
    arguments = arguments_of(item.arguments or "", f"{where}.arguments")
    return ToolCall(id=item.call_id, name=item.name, arguments=arguments)


def _message(where: str, item: InputItem) -> Message:
    if item.type not in {None, "message"} or item.role is None:
        known = "`message`, `function_call`, `function_call_output`"
        raise UnsupportedError(f"{where}.type", f"`{where}`: only items of type {known} are supported yet")
    content = _text(f"{where}.content", item.content)
    return Message(role="system" if item.role == "developer" else item.role, content=content)


def _text(where: str, content: str | list[InputPart] | None) -> str:
    if isinstance(content, list):
        if any(part.type not in _TEXT_PARTS for part in content):
            raise UnsupportedError(where, f"`{where}`: only parts of text are supported yet")
        return "".join(part.text or "" for part in content)
    return content or ""
