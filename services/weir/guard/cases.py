"""Texts that a policy is tried on (`weir guard test`): lines, or JSON objects that say what is expected."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from weir.contracts.errors import UsageError
from weir.guard.compiled import Chosen
from weir.guard.policy.schema import RuleId
from weir.guard.rules import STRENGTH, Action, Find, Rule


class Case(BaseModel):
    """One text. `expect` is what must be done with it, `rules` are ids that must be among those found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    direction: Literal["input", "output"] = "input"
    expect: Action | None = None
    rules: tuple[RuleId, ...] = Field(default=(), description="must be among those that are found")
    line: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True, slots=True)
class Judged:
    """What a policy makes of a case: the strongest action, all rules found, and what goes on in its place."""

    case: Case
    action: Action
    rules: tuple[str, ...]
    text: str

    @property
    def is_expected(self) -> bool:
        wanted = self.case.expect
        return (wanted is None or wanted is self.action) and set(self.case.rules) <= set(self.rules)


def cases_in(lines: Iterable[str], name: str, direction: Literal["input", "output"]) -> Iterator[Case]:
    """Read cases; `direction` is that of lines that do not name one. Blank lines are none.

    Raises:
        UsageError: a line begins as a JSON object and is no case.
    """
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.startswith('{"'):
            yield _case(text, f"{name}: line {number}", direction).model_copy(update={"line": number})
        elif text.strip():
            yield Case(text=text, direction=direction, line=number)


def _case(text: str, where: str, direction: Literal["input", "output"]) -> Case:
    try:
        case = Case.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where}: {place + ': ' if place else ''}{first['msg']}") from None
    return case if "direction" in case.model_fields_set else case.model_copy(update={"direction": direction})


def judged(case: Case, chosen: Chosen) -> Judged:
    """Judge a case as the gateway would."""
    if case.direction == "input":
        checked = chosen.input.check(case.text)
        rules = chosen.input.rules
        return Judged(case, checked.verdict.action, _ids(checked.finds, rules), checked.text)
    guarded = chosen.output.whole(case.text)
    rules = chosen.output.matcher.rules
    action = max((rules[find.order].action for find in guarded.finds), key=STRENGTH.__getitem__, default=Action.ALLOW)
    return Judged(case, action, _ids(guarded.finds, rules), guarded.text)


def _ids(finds: Iterable[Find], rules: Sequence[Rule]) -> tuple[str, ...]:
    return tuple(rules[order].id for order in sorted({find.order for find in finds}))
