"""Renders messages with the release's chat template, in a sandbox."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from weir.contracts.errors import ReleaseError, ValidationError
from weir.contracts.request import Message, Tool, ToolCall
from weir.release.template_pieces import mark, only_copies, pieces
from weir.release.tool_format import ToolFormat, tool_format_of

# Training marks which tokens are the assistant's; serving has no use for it.
_GENERATION_MARK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_ZERO_WIDTH = "\u200b"


def serving_template(template: str) -> str:
    """Strip the training-only `{% generation %}` marks, keeping the white space that they would keep."""
    return _GENERATION_MARK.sub(lambda mark: _trimmed(mark.group()), template)


def _trimmed(mark: str) -> str:
    left = "{#-" if mark.startswith("{%-") else "{#"
    right = "-#}" if mark.endswith("-%}") else "#}"
    return f"{left} {right}"


class ChatTemplate:
    """One compiled template. Rendering runs no code but the template's, without attribute or module access.

    Control tokens inside message content are broken by a zero-width space, so that a user cannot speak
    in another role's name.
    """

    def __init__(
        self, source: str, control_tokens: Sequence[str] = (), *, special_tokens: Mapping[str, str] | None = None
    ) -> None:
        """Compile `source`; `special_tokens` are the names it may use, e.g. `bos_token`."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals.update(special_tokens or {})
        environment.globals["raise_exception"] = _raise
        environment.filters["tojson"] = _to_json  # jinja's own escapes for HTML, which no model was trained on
        environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
        try:
            self._template = environment.from_string(serving_template(source))
            tree = environment.parse(serving_template(source))
            names = meta.find_undeclared_variables(tree)
        except TemplateError as error:
            raise ReleaseError(f"the chat template does not compile: {error}") from error
        self._template.globals = dict(self._template.globals)  # copied per rendering: three times as fast from a dict
        self.tool_format: ToolFormat | None = tool_format_of(source) if "tools" in names else None
        self._control = tuple(sorted(control_tokens, key=len, reverse=True))
        self._only_copies = only_copies(tree)
        self._around_user: tuple[str, str] | None = None  # the texts around what a lone user says

    def render_user(self, text: str) -> str:
        """Return the prompt of one message that a user sent; the same as `render`, sooner."""
        if self._around_user is None:
            self._around_user = self._found_around_user()
        before, after = self._around_user
        if before or after:
            return f"{before}{self._escaped(text)}{after}"
        return self.render([Message(role="user", content=text)])

    def _found_around_user(self) -> tuple[str, str]:
        """Return two empty texts where there is no telling."""
        if not self._only_copies:
            return "", ""
        texts, marks = pieces(self.render([Message(role="user", content=mark(0))]))
        return (texts[0], texts[1]) if len(marks) == 1 else ("", "")

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Tool] = (), add_generation_prompt: bool = True
    ) -> str:
        """Return the prompt text; `tool_format` says whether the template has a place for `tools`.

        Raises:
            ValidationError: the template refuses these messages (its own words are given).
        """
        turns = [self._turn(message) for message in messages]
        given = [self._tool(tool) for tool in tools] or None
        try:
            return self._template.render(messages=turns, add_generation_prompt=add_generation_prompt, tools=given)
        except SecurityError as error:
            raise ReleaseError("the chat template tried something that the sandbox forbids") from error
        except TemplateError as error:
            raise ValidationError(f"the chat template refused the messages: {error}", "messages") from error
        except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise ReleaseError(f"the chat template failed on the messages ({type(error).__name__})") from error

    def _turn(self, message: Message) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": message.role, "content": self._escaped(message.content)}
        if message.tool_calls:
            turn["tool_calls"] = [self._call(call) for call in message.tool_calls]
        if message.tool_call_id is not None:
            turn["tool_call_id"] = self._escaped(message.tool_call_id)
        if message.name is not None:
            turn["name"] = self._escaped(message.name)
        return turn

    def _call(self, call: ToolCall) -> dict[str, Any]:
        function = {"name": self._escaped(call.name), "arguments": self._tree(json.loads(call.arguments))}
        return {"id": self._escaped(call.id), "type": "function", "function": function}

    def _tool(self, tool: Tool) -> dict[str, Any]:
        function = {"name": tool.name, "description": self._escaped(tool.description or "")}
        return {"type": "function", "function": {**function, "parameters": self._tree(json.loads(tool.parameters))}}

    def _tree(self, value: Any) -> Any:
        """Break control tokens in all texts of a JSON value, which the template writes itself."""
        if isinstance(value, str):
            return self._escaped(value)
        if isinstance(value, list):
            return [self._tree(item) for item in value]
        if isinstance(value, dict):
            return {self._escaped(key): self._tree(item) for key, item in value.items()}
        return value

    def _escaped(self, text: str) -> str:
        for token in self._control:
            if token in text:
                text = text.replace(token, token[0] + _ZERO_WIDTH + token[1:])
        return text


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise TemplateError(message)
