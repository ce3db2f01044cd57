"""The policy file: what to look for in prompts and answers, and what to do then."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from weir.contracts.errors import UsageError
from weir.guard.fold import fold

RULE_ID = r"^[a-z0-9][a-z0-9-]{0,47}$"
Term = Annotated[str, Field(min_length=1, max_length=256)]


class Action(StrEnum):
    """What a rule may do, weakest first."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    BLOCK = "block"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rule(_Strict):
    """Literal terms, or a built-in detector, and what to do when one is found.

    `match: auto` asks for a word boundary beside each end of a term that is an ASCII letter, digit or underscore
    (so `hack` is not found in `hackathon`) and for none beside other scripts; `substring` never asks for one.
    Terms and texts are compared in the folded view: case, width, accents and invisible characters do not matter.
    """

    id: str = Field(pattern=RULE_ID)
    action: Literal["flag", "redact", "block"]
    terms: tuple[Term, ...] = Field(default=(), max_length=50_000, strict=False)
    detect: Literal["email"] | None = None
    allow: tuple[Term, ...] = Field(default=(), strict=False, description="exact finds of `detect` that are fine")
    match: Literal["auto", "substring"] = "auto"
    replacement: str = Field(default="[redacted]", max_length=64)

    @model_validator(mode="after")
    def _finds_something(self) -> Self:
        if bool(self.terms) == (self.detect is not None):
            raise ValueError("give either terms or detect")
        if self.allow and self.detect is None:
            raise ValueError("allow belongs to detect; take the term out instead")
        for number, term in enumerate(self.terms):
            if not fold(term).strip():
                raise ValueError(f"terms[{number}] is empty once folded")
        return self

    @property
    def does(self) -> Action:
        return Action(self.action)


class Policy(_Strict):
    """One version of the operator's rules."""

    version: Literal[1]
    id: str = Field(pattern=RULE_ID)
    input: tuple[Rule, ...] = Field(default=(), strict=False)
    output: tuple[Rule, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        for phase, rules in (("input", self.input), ("output", self.output)):
            seen: set[str] = set()
            for rule in rules:
                if rule.id in seen:
                    raise ValueError(f"two {phase} rules are called {rule.id!r}")
                seen.add(rule.id)
        return self


def default_policy() -> Policy:
    """Return the policy that is packaged with Weir."""
    return parse_policy(files("weir.guard").joinpath("default_policy.yaml").read_text("utf-8"), "default_policy.yaml")


def load_policy(path: Path) -> Policy:
    """Read and check a policy file.

    Raises:
        UsageError: it cannot be read or does not fit the schema; the message names file, rule and reason.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the guard policy cannot be read: {error}") from error
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str) -> Policy:
    """Check a policy given as YAML text; `name` is what error messages call it."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not YAML: {error}") from error
    try:
        return Policy.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{name}: {_where(raw, first['loc'])}{_reason(first)}") from error


def _where(raw: object, location: Sequence[int | str]) -> str:
    """Spell a pydantic location with rule ids instead of list positions."""
    parts = [str(part) for part in location]
    if len(location) >= 2 and isinstance(raw, Mapping) and isinstance(location[1], int):
        rule = raw[location[0]][location[1]]
        named = isinstance(rule, Mapping) and isinstance(rule.get("id"), str)
        label = f"rule {rule['id']!r}" if named else f"rule number {location[1] + 1}"
        parts = [f"{location[0]} {label}", *parts[2:]]
    return ": ".join(parts) + ": " if parts else ""


def _reason(first: Mapping[str, object]) -> str:
    location = first["loc"]
    if first["type"] == "extra_forbidden" and isinstance(location, tuple):
        fields: Iterable[str] = Policy.model_fields if len(location) == 1 else Rule.model_fields
        near = get_close_matches(str(location[-1]), fields, n=1)
        return "no such field" + (f" (did you mean {near[0]!r}?)" if near else "")
    return str(first["msg"]).removeprefix("Value error, ")
