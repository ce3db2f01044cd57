"""The input rules over everything that a caller may put into a prompt. Whatever goes wrong blocks: it fails closed."""

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

import orjson

from weir.contracts.errors import PromptBlockedError
from weir.contracts.request import GenerateRequest, Message, Tool, ToolCall, ToolUse
from weir.gateway.findings import Findings, Note, Seal
from weir.guard.compiled import Chosen
from weir.guard.input import Checked, effect
from weir.guard.rules import Action
from weir.guard.structured import Decoded
from weir.guard.verdict import GUARD_ERROR, SCORE
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)


class PromptFilter:
    """Applies one guard's input rules to one request: every role and part, names, tools, their arguments and results.

    `fallback`: the text that is the answer, when a rule says so; no node is asked then.
    """

    def __init__(self, guard: Chosen, seal: Seal | None, notes: list[Note]) -> None:
        self._guard = guard
        self._rules = guard.rules.input
        self._findings = Findings("input", self._rules, seal, notes)
        self._scores: dict[str, int] = {}
        self.fallback: str | None = None

    @property
    def found(self) -> list[str]:
        """Ids of the rules that matched."""
        return list(self._findings.found)

    def passed(self, request: GenerateRequest, metrics: GatewayMetrics) -> GenerateRequest:
        """Return the request as the rules leave it.

        Raises:
            PromptBlockedError: a rule matched, the scores of several add up, or the filter failed.
        """
        began = perf_counter()
        try:
            request = self._passed(request)
            self._check_score()
        except PromptBlockedError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the prompt goes nowhere
            _log.exception("input_filter_failed")
            metrics.guard_errors("input").inc()
            self._findings.judged(GUARD_ERROR, Action.BLOCK)
            raise PromptBlockedError(GUARD_ERROR) from None
        finally:
            self._findings.count(metrics)
            metrics.guard_seconds("input").observe(perf_counter() - began)
        return request

    def _passed(self, request: GenerateRequest) -> GenerateRequest:
        if request.prompt:
            passed = self._text(request.prompt, "prompt")
            # Its token ids, if there were any, say what it said before.
            return request if passed is request.prompt else request.changed(prompt=passed, prompt_ids=())
        messages = tuple([self._message(message, i) for i, message in enumerate(request.messages)])
        if request.tool_use is not None:
            return request.changed(messages=messages, tool_use=self._tool_use(request.tool_use))
        is_same = all(new is old for new, old in zip(messages, request.messages, strict=True))
        return request if is_same else request.changed(messages=messages)

    def _check_score(self) -> None:
        most = self._guard.rules.score_block
        if most and sum(self._scores.values()) >= most:
            self._findings.judged(SCORE, Action.BLOCK)
            raise PromptBlockedError(SCORE)

    def _message(self, message: Message, number: int) -> Message:
        where = f"messages.{number}"
        content = self._text(message.content, f"{where}.content")
        changed: dict[str, Any] = {} if content is message.content else {"content": content}
        if message.name is not None:
            changed["name"] = self._text(message.name, f"{where}.name")
        if message.tool_call_id is not None:
            changed["tool_call_id"] = self._text(message.tool_call_id, f"{where}.tool_call_id")
        if message.tool_calls:
            calls = enumerate(message.tool_calls)
            changed["tool_calls"] = tuple(self._call(call, f"{where}.tool_calls.{i}") for i, call in calls)
        return message.model_copy(update=changed) if changed else message

    def _call(self, call: ToolCall, where: str) -> ToolCall:
        self._identifier(call.name, f"{where}.name")
        passed = {"id": self._text(call.id, f"{where}.id"), "arguments": self._json(call.arguments, where)}
        return call.model_copy(update=passed)

    def _tool_use(self, use: ToolUse) -> ToolUse:
        tools = tuple(self._tool(tool, f"tools.{i}") for i, tool in enumerate(use.tools))
        return use.model_copy(update={"tools": tools})

    def _tool(self, tool: Tool, where: str) -> Tool:
        self._identifier(tool.name, f"{where}.name")
        about = None if tool.description is None else self._text(tool.description, f"{where}.description")
        return tool.model_copy(update={"description": about, "parameters": self._json(tool.parameters, where)})

    def _text(self, text: str, where: str) -> str:
        checked = self._guard.input.check(text)
        return text if not checked.finds else self._judged(text, checked, where)

    def _judged(self, text: str, checked: Checked, where: str) -> str:
        """Take note of the finds; return the text to go on with."""
        for find in checked.finds:
            rule = self._rules[find.order]
            done = effect(find, rule)
            self._findings.add(find, text[find.start : find.end], where, done)
            if done is Action.FLAG:
                self._scores[rule.id] = rule.score
            if done is Action.FALLBACK and self.fallback is None:
                self.fallback = rule.replacement
        if checked.verdict.action is Action.BLOCK:
            raise PromptBlockedError(checked.verdict.rules[0])
        return checked.text

    def _identifier(self, name: str, where: str) -> None:
        """A name of a function cannot be redacted; what would be is refused."""
        checked = self._guard.input.check(name)
        if checked.finds and self._judged(name, checked, where) != name:
            raise PromptBlockedError(checked.verdict.rules[0])

    def _json(self, text: str, where: str) -> str:
        """Apply the rules to a JSON text so that it stays one.

        Strings and numbers count as they read once decoded; then the whole does, for what stands in several of them.
        """
        checked = self._guard.input.check(text)
        if not checked.finds and "\\" not in text:
            return text
        changed = _each_leaf(orjson.loads(text), lambda leaf: self._text(leaf, where))
        text = text if changed is None else orjson.dumps(changed.value).decode()
        decoded = Decoded(text)
        checked = self._guard.input.check(decoded.text)
        if checked.finds and self._judged(decoded.text, checked, where) != decoded.text:
            return decoded.rewritten(checked.finds, self._rules)
        return text


class _Changed:
    """A JSON value that is not what it was."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _each_leaf(value: Any, change: Callable[[str], str]) -> _Changed | None:
    """Change strings, keys and numbers; a changed number becomes a string. None: nothing changed."""
    if isinstance(value, str):
        passed = change(value)
        return None if passed is value or passed == value else _Changed(passed)
    if isinstance(value, dict):
        pairs = [(key, _each_leaf(key, change), item, _each_leaf(item, change)) for key, item in value.items()]
        if not any(new_key or new_item for _, new_key, _, new_item in pairs):
            return None
        return _Changed({(k.value if k else key): (v.value if v else item) for key, k, item, v in pairs})
    if isinstance(value, list):
        new = [_each_leaf(item, change) for item in value]
        changed = [n.value if n else item for n, item in zip(new, value, strict=True)]
        return _Changed(changed) if any(new) else None
    if isinstance(value, bool) or value is None:
        return None
    return _each_leaf(str(value), change)
