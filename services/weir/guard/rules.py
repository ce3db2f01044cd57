"""A policy once it is resolved: what the matchers compile. How it is written in YAML: `weir.guard.policy`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

MAX_HOLD = 512  # characters that a stream may ever hold back


class Action(StrEnum):
    """What a rule may do, weakest first. `REWRITE` is a redaction with a text of the operator's choice."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    REWRITE = "rewrite"
    FALLBACK = "fallback"
    BLOCK = "block"


STRENGTH: Mapping[Action, int] = MappingProxyType({action: strength for strength, action in enumerate(Action)})

Boundary = Literal["auto", "word", "substring"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that finds stretches of text. Either `terms` or `regexes` is not empty.

    Attributes:
        id: unique within the direction; a metric label and an audit field.
        terms: as written; compared in the views. `boundary` says where they must stand: `auto` asks for a word boundary
            beside each end that is an ASCII letter, digit or underscore, `word` beside both ends, `substring` nowhere.
        is_squeezed: terms are also looked for with something between their letters, and in leet.
        regexes: RE2, searched in the plain view (width, accents, invisible characters, look-alikes undone; case kept).
        keeps_case: regexes tell capitals from small letters; terms never do.
        until: with a regex: what it matches and all that follows is found, up to and with the first match of `until`,
            or to the end of the text.
        cap: the most characters of a find of a regex with an unbounded part inside (None: it has none).
        validator: name in `weir.guard.validators`; finds that it denies are none.
        replacement: what stands for a find (redact, rewrite), or for the rest of the answer (fallback).
        is_secret: no allow list makes an exception of its finds.
        score: what a flag adds to the prompt's score.
    """

    id: str
    action: Action
    terms: tuple[str, ...] = ()
    boundary: Boundary = "auto"
    is_squeezed: bool = True
    regexes: tuple[str, ...] = ()
    keeps_case: bool = False
    until: str | None = None
    cap: int | None = None
    validator: str | None = None
    replacement: str = "[redacted]"
    is_secret: bool = False
    score: int = 0
    severity: Literal["low", "medium", "high"] = "medium"
    hits: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """A rule about a whole answer; it makes the gateway keep the answer back until it is complete.

    `schema`: a JSON schema that the answer must fit; `topics`: terms of which at least one must occur in it;
    `routes`: where it holds, `*` for anything; none: everywhere.
    """

    id: str
    action: Action
    schema: Mapping[str, Any] | None = None
    topics: tuple[str, ...] = ()
    replacement: str = ""
    routes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules that hold for one caller on one route.

    Attributes:
        name: the profile's, `base` where none applies.
        input, output: in the order of the policy, which decides between equals.
        answer: rules about whole answers.
        allow: exact finds, as written, that are fine, but for those of secret rules.
        own_hosts: names of hosts, `*.` for all below one, that rules about links leave alone.
        score_block: prompts whose flags add up to it are blocked; 0: never.
    """

    name: str = "base"
    input: tuple[Rule, ...] = ()
    output: tuple[Rule, ...] = ()
    answer: tuple[AnswerRule, ...] = ()
    allow: tuple[str, ...] = field(default=())
    score_block: int = 0
    own_hosts: tuple[str, ...] = ()


class Find(NamedTuple):
    """Where a rule holds: `[start, end)` in characters of the original text. `view`: in which spelling it was seen."""

    start: int
    end: int
    order: int  # the rule's place in its direction's rules
    view: str


# A find that may go on: start, end, order and view as in `Find`, then the end of what made it one. There may be many.
CertainFind = tuple[int, int, int, str, int]
