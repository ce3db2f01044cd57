"""The body of `/v1/chat/completions`: messages and tools."""

from collections.abc import Sequence
from typing import Any, Literal

import orjson
from pydantic import Field

from weir.contracts.errors import ValidationError
from weir.contracts.request import Message, Tool, ToolCall, ToolUse
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.base import Wire
from weir.gateway.surfaces.openai_wire import Asked, ResponseFormat

NAME = r"^[A-Za-z0-9_-]{1,64}$"


class ContentPart(Wire):
    type: str
    text: str | None = None


class CalledFunction(Wire):
    name: str = Field(pattern=NAME)
    arguments: str = "{}"


class ChatToolCall(Wire):
    id: str = Field(max_length=128)
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Wire):
    """`developer` is read as `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = Field(default=None, max_length=128)
    tool_calls: list[ChatToolCall] | None = Field(default=None, max_length=64)
    tool_call_id: str | None = Field(default=None, max_length=128)


class FunctionDefinition(Wire):
    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(Wire):
    type: Literal["function"] = "function"
    function: FunctionDefinition


class NamedFunction(Wire):
    name: str


class NamedTool(Wire):
    type: Literal["function"] = "function"
    function: NamedFunction


class ChatBody(Asked):
    """Every field but `messages` may be null or left out."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1024)
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[ChatTool] | None = Field(default=None, max_length=64)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None


def messages_of(body: ChatBody) -> tuple[Message, ...]:
    """Translate messages; text parts are joined as they are.

    Raises:
        UnsupportedError: a part that is not text.
        ValidationError: arguments of a call that are not a JSON object, or an answer to no call.
    """
    return tuple(_message(number, message) for number, message in enumerate(body.messages))


def tool_use_of(body: ChatBody) -> ToolUse | None:
    """Return the tools, none when the answer may call none of them.

    Raises:
        ValidationError: a choice without tools, of a tool that is not there, or two tools of one name.
        UnsupportedError: `functions`, what there was before tools.
    """
    if body.functions:
        raise UnsupportedError("functions", "`functions`: use `tools`")
    functions, choice = [tool.function for tool in body.tools or ()], body.tool_choice
    only = choice.function.name if isinstance(choice, NamedTool) else None
    word = None if isinstance(choice, NamedTool) else choice
    parallel = body.parallel_tool_calls is not False
    return use_of(functions, word, only=only, only_field="tool_choice.function.name", parallel=parallel)


def use_of(
    functions: Sequence[FunctionDefinition],
    choice: Literal["none", "auto", "required"] | None,
    *,
    only: str | None,
    only_field: str,
    parallel: bool,
) -> ToolUse | None:
    """Return the tools, none when the answer may call none of them; `only`: the one that it must call.

    Raises:
        ValidationError: a choice without tools, of a tool that is not there, or two tools of one name.
    """
    must_call = only is not None or choice == "required"
    if not functions and must_call:
        raise ValidationError("`tool_choice`: there are no `tools`", "tool_choice")
    if not functions or choice == "none":
        return None
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise ValidationError("`tools`: two of them have the same name", "tools")
    if only is not None and only not in names:
        raise ValidationError("`tool_choice`: no tool of this name", only_field)
    return ToolUse(tools=tuple(map(_tool, functions)), only=only, must_call=must_call, parallel=parallel)


def _tool(given: FunctionDefinition) -> Tool:
    if given.parameters is None:
        return Tool(name=given.name, description=given.description)
    parameters = orjson.dumps(given.parameters).decode()
    return Tool(name=given.name, description=given.description, parameters=parameters)


def _message(number: int, message: ChatMessage) -> Message:
    content = message.content or ""
    if isinstance(content, list):
        content = "".join(_text(number, part) for part in content)
    role = "system" if message.role == "developer" else message.role
    if role == "tool" or message.tool_calls or message.tool_call_id or message.name:
        return _tool_turn(f"messages.{number}", message, Message(role=role, content=content))
    return Message.trusted(role=role, content=content)


def _tool_turn(where: str, message: ChatMessage, turn: Message) -> Message:
    if message.role == "tool" and message.tool_call_id is None:
        raise ValidationError(f"`{where}.tool_call_id`: a tool message names the call it answers", where)
    if message.tool_calls and message.role != "assistant":
        raise ValidationError(f"`{where}.tool_calls`: only an assistant calls tools", f"{where}.tool_calls")
    calls = tuple(_call(f"{where}.tool_calls.{i}", call) for i, call in enumerate(message.tool_calls or ()))
    return turn.model_copy(update={"tool_calls": calls, "tool_call_id": message.tool_call_id, "name": message.name})


def _call(where: str, call: ChatToolCall) -> ToolCall:
    arguments = arguments_of(call.function.arguments, f"{where}.function.arguments")
    return ToolCall(id=call.id, name=call.function.name, arguments=arguments)


def arguments_of(text: str, field: str) -> str:
    """Return the arguments of an earlier call.

    Raises:
        ValidationError: they are not the text of a JSON object.
    """
    try:
        arguments = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ValidationError(f"`{field}`: the text of a JSON object is needed", field)
    return orjson.dumps(arguments).decode()


def _text(number: int, part: ContentPart) -> str:
    if part.type != "text":
        raise UnsupportedError(f"messages.{number}.content", "only content parts of type `text` are supported yet")
    return part.text or ""
