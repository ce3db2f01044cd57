"""Rules about a whole answer: what form it must have, what it must be about."""

import json
from collections.abc import Mapping
from typing import Any

from weir.contracts.errors import UsageError
from weir.guard.matcher import Matcher
from weir.guard.rules import Action, AnswerRule, Rule


class AnswerCheck:
    """One rule, compiled; shared by all requests."""

    def __init__(self, rule: AnswerRule) -> None:
        """Raises `UsageError` when the schema is none."""
        self.rule = rule
        self._schema = None if rule.schema is None else _Schema(rule)
        topics = Rule(rule.id, Action.FLAG, terms=rule.topics)
        self._topics = Matcher([topics], ()) if rule.topics else None

    @property
    def holds_back(self) -> bool:
        """Nothing of an answer may be sent before it is judged."""
        return self.rule.action is not Action.FLAG

    def is_kept(self, answer: str) -> bool:
        """Whether the answer is what the rule asks for."""
        if self._schema is not None and not self._schema.fits(answer):
            return False
        return self._topics is None or bool(self._topics.scan(answer))


class _Schema:
    def __init__(self, rule: AnswerRule) -> None:
        import jsonschema_rs  # here: 60 ms and 20 MB that most policies have no use for

        # `RegexOptions`: a pattern takes linear time. `offline`: a schema is what the policy says, and nothing else.
        options = jsonschema_rs.RegexOptions()
        try:
            schema: Mapping[str, Any] = rule.schema or {}
            self._validator = jsonschema_rs.validator_for(dict(schema), pattern_options=options, offline=True)
        except jsonschema_rs.ValidationError as error:
            place = ".".join(map(str, error.instance_path)) or "a reference in it"
            raise UsageError(f"answer rule {rule.id!r}: schema: {place} is not what a JSON schema may hold") from None

    def fits(self, answer: str) -> bool:
        try:
            value = json.loads(answer, parse_constant=_refused)
        except (ValueError, RecursionError):
            return False
        return bool(self._validator.is_valid(value))


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
