"""How a policy is written. `weir guard schema` prints it as JSON Schema, so that editors complete and explain it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import GenerateJsonSchema

from weir.guard.rules import MAX_HOLD

RULE_ID = r"^[a-z0-9][a-z0-9-]{0,47}$"
MAX_TERMS = 200_000  # of one policy, its files and packs included
MAX_TERM = 256

RuleId = Annotated[
    str, Field(pattern=RULE_ID, description="small letters, digits and -; a metric label, an audit field, in markers")
]
RuleIds = Annotated[str, Field(min_length=1, max_length=64, description="an id, or several: `cn-*`")]
PackName = Annotated[
    str, Field(pattern=RULE_ID, description="a pack that comes with Weir", json_schema_extra={"enum": "packs"})
]
CheckName = Annotated[
    str,
    Field(pattern=RULE_ID, description="a check that finds must pass, as luhn", json_schema_extra={"enum": "checks"}),
]
Term = Annotated[str, Field(min_length=1, max_length=MAX_TERM)]
Regex = Annotated[
    str, Field(min_length=1, max_length=4096, description="RE2 syntax; (?&name) stands for a part from `define`")
]
Example = Annotated[str, Field(min_length=1, max_length=4096)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file; another content is refused")]
FilePath = Annotated[str, Field(min_length=1, max_length=512, description="path from this file's directory")]
ActionName = Literal["flag", "redact", "rewrite", "fallback", "block"]
DirectionName = Literal["input", "output"]
Severity = Annotated[Literal["low", "medium", "high"], Field(description="for whoever reads the audit")]
Score = Annotated[int, Field(ge=0, le=1000, description="what a flag adds to a prompt's score; see score_block")]
Text = Annotated[str, Field(max_length=2000)]
Description = Annotated[str, Field(max_length=2000, description="for people; nothing reads it")]
Replacement = Annotated[
    Text, Field(description="for redact (default: defaults.marker) and rewrite; {rule}: the rule's id")
]
FallbackText = Annotated[Text, Field(description="for fallback: what ends the answer, or is the answer to a prompt")]

_ACTION = (
    "flag: count it; redact: put the marker there; rewrite: put `replacement` there; fallback: end the answer with "
    "`text`, or answer a prompt with it; block: refuse the prompt, end the answer"
)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Directions = Annotated[
    tuple[DirectionName, ...],
    Field(min_length=1, max_length=2, strict=False),
    BeforeValidator(
        _several,
        json_schema_input_type=DirectionName | Annotated[tuple[DirectionName, ...], Field(min_length=1, max_length=2)],
    ),
]


class ScriptMatch(_Strict):
    """Where terms must stand, by script."""

    zh: Literal["substring"] = Field(default="substring", description="anywhere")
    en: Literal["word", "substring"] = Field(description="as whole words, or anywhere")


def _by_script(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    zh, en = value.get("zh", "substring"), value.get("en")
    if not set(value) <= {"zh", "en"} or zh != "substring" or not isinstance(en, str) or en not in _BY_EN:
        raise ValueError("zh is always substring; en is word or substring")
    return _BY_EN[en]


_BY_EN = {"word": "auto", "substring": "substring"}
Match = Annotated[
    Literal["auto", "word", "substring"],
    Field(
        description="auto: an end that is an ASCII letter, digit or underscore needs a word boundary, others none; "
        "word: both ends need one; substring: none does"
    ),
    BeforeValidator(_by_script, json_schema_input_type=Literal["auto", "word", "substring"] | ScriptMatch),
]


class Examples(_Strict):
    """Texts that a rule is tried on whenever the policy is loaded; it is refused when one is judged otherwise."""

    hit: tuple[Example, ...] = Field(default=(), strict=False, description="the rule must find something in each")
    miss: tuple[Example, ...] = Field(default=(), strict=False, description="the rule must find nothing in any")


class Entry(_Strict):
    """What every rule says besides what it looks for."""

    id: RuleId
    description: Description = ""
    direction: Directions | None = Field(
        default=None,
        description="what is searched: prompts (input), answers (output); default: both, answers alone for fallback",
    )
    action: ActionName = Field(description=_ACTION)
    replacement: Replacement | None = None
    text: FallbackText | None = None
    score: Score = 0
    severity: Severity = "medium"
    secret: bool = Field(default=False, description="no allow list makes an exception of what it finds")
    examples: Examples = Examples()


class TermEntry(Entry):
    """What rules with literal terms add."""

    match: Match = "auto"
    squeeze: bool = Field(default=True, description="also find terms with something between their letters, and in leet")
    terms: tuple[Term, ...] = Field(
        default=(),
        strict=False,
        max_length=MAX_TERMS,
        description="in any case, width and accent; see match and squeeze",
    )


class TermList(TermEntry):
    """A list of terms, in a file or here."""

    file: FilePath | None = Field(default=None, description="UTF-8, one term a line; # begins a comment line")
    sha256: Digest | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.file is None) == (not self.terms):
            raise ValueError("give either file or terms")
        if self.sha256 is not None and self.file is None:
            raise ValueError("sha256 belongs to file")
        return self


class RuleEntry(TermEntry):
    """A rule: one regex, any of several, or a few terms."""

    regex: Regex | None = None
    any_of: tuple[Regex, ...] = Field(default=(), alias="any", strict=False, max_length=200, description="regexes")
    case: Literal["ignore", "keep"] = Field(default="ignore", description="keep: capitals and small letters differ")
    until: Regex | None = Field(
        default=None, description="find all that follows the regex, up to and with this or to the end of the text"
    )
    cap: int | None = Field(
        default=None,
        ge=1,
        le=MAX_HOLD,
        description="most characters of a find, for a regex with an unbounded part inside",
    )
    validator: CheckName | None = Field(default=None, alias="validate")

    @model_validator(mode="after")
    def _looks_for_one_thing(self) -> Self:
        if sum((self.regex is not None, bool(self.any_of), bool(self.terms))) != 1:
            raise ValueError("give one of regex, any and terms")
        if self.terms:
            self._refuse("regex or any", "case", "until", "cap", "validator")
            return self
        self._refuse("terms", "match", "squeeze")
        if not (self.examples.hit and self.examples.miss):
            raise ValueError("a regex needs examples: at least one hit and one miss")
        return self

    @property
    def regexes(self) -> tuple[str, ...]:
        return self.any_of if self.regex is None else (self.regex,)

    def _refuse(self, owner: str, *names: str) -> None:
        for name in names:
            if name in self.model_fields_set:
                raise ValueError(f"{type(self).model_fields[name].alias or name} belongs to {owner}")


class AnswerEntry(_Strict):
    """A rule about a whole answer. Where it holds, answers are kept back until they are complete."""

    id: RuleId
    description: Description = ""
    schema_of: dict[str, Any] | None = Field(default=None, alias="schema", description="JSON schema of the answer")
    schema_file: FilePath | None = Field(default=None, description="the same, as a JSON file")
    topics: tuple[Term, ...] = Field(default=(), strict=False, max_length=10_000, description="one must occur in it")
    action: Literal["flag", "fallback", "block"] = Field(description="what is done with an answer that does not fit")
    text: Text | None = Field(default=None, description="for fallback: what is sent instead")
    routes: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=(), strict=False, description="only there; * stands for anything; default: everywhere"
    )

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Self:
        if sum((self.schema_of is not None, self.schema_file is not None, bool(self.topics))) != 1:
            raise ValueError("give one of schema, schema_file and topics")
        return self


class Change(_Strict):
    """What is different about rules that are written elsewhere; what is not named stays."""

    action: ActionName | None = Field(default=None, description=_ACTION)
    replacement: Replacement | None = None
    text: FallbackText | None = None
    score: Score | None = None
    severity: Severity | None = None


class Override(Change):
    """Another say on rules by id."""

    off: bool = Field(default=False, description="the rule does not hold; works on secret rules too")
    direction: Directions | None = Field(default=None, description="where they hold instead")


class PackUse(Change):
    """A pack of rules, and what is different about them here."""

    name: PackName | None = None
    file: FilePath | None = Field(default=None, description="a pack of your own")
    sha256: Digest | None = None
    direction: Directions | None = Field(default=None, description="only these of the directions its rules have")
    off: tuple[RuleIds, ...] = Field(default=(), strict=False, description="rules that do not hold; `*`: none does")

    @model_validator(mode="after")
    def _is_one_pack(self) -> Self:
        if (self.name is None) == (self.file is None):
            raise ValueError("give either name or file")
        if self.sha256 is not None and self.file is None:
            raise ValueError("sha256 belongs to file")
        return self

    @property
    def label(self) -> str:
        return self.name or str(self.file)


class AllowEntry(_Strict):
    """An exact find that is fine, or a file of them, one a line."""

    term: Term | None = Field(default=None, description="in any case, width and accent")
    file: FilePath | None = None
    sha256: Digest | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.file is None) == (self.term is None):
            raise ValueError("give either a term or a file")
        if self.sha256 is not None and self.file is None:
            raise ValueError("sha256 belongs to file")
        return self


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _spelled(value: Any) -> Any:
    return {"term": value} if isinstance(value, str) else value


_PackUse = Annotated[PackUse, BeforeValidator(_named, json_schema_input_type=PackName | PackUse)]
_Allowed = Annotated[AllowEntry, BeforeValidator(_spelled, json_schema_input_type=Term | AllowEntry)]
Packs = Annotated[tuple[_PackUse, ...], Field(strict=False, max_length=100)]
Allow = Annotated[tuple[_Allowed, ...], Field(strict=False, max_length=10_000)]
_Host = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$", max_length=253)]
Hosts = Annotated[tuple[_Host, ...], Field(strict=False, max_length=1000)]


class Defaults(_Strict):
    """What rules that do not say otherwise have."""

    marker: Text = Field(default="[{rule}]", description="what redacted text becomes; {rule} is the rule's id")
    max_hold_chars: int = Field(
        default=MAX_HOLD,
        ge=1,
        le=MAX_HOLD,
        description="rules whose finds can be longer are refused, so no stream waits",
    )


class Profile(_Strict):
    """What differs from the policy's base where `apply` says so."""

    packs: Packs = Field(default=(), description="added; one that the base uses too holds as it is written here")
    allow: Allow = Field(default=(), description="added to the base's")
    own_hosts: Hosts = Field(default=(), description="added to the base's")
    overrides: Mapping[RuleIds, Override] = Field(default={}, strict=False, description="made after the base's")
    score_block: Score | None = Field(default=None, description="a prompt whose flags add up to it is blocked")


class Application(_Strict):
    """Who gets a profile: callers for whom all that is named fits. * stands for anything."""

    route: str | None = Field(default=None, min_length=1, max_length=128, description="as /v1/chat/*")
    key: str | None = Field(default=None, min_length=1, max_length=128, description="an API key's id or name")
    profile: RuleId = Field(description="its name; base: the policy without profiles")

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.route is None and self.key is None:
            raise ValueError("give route, key or both")
        return self


class _Rules(_Strict):
    """What packs and policies have in common."""

    id: RuleId
    description: Description = ""
    define: Mapping[RuleId, Regex] = Field(
        default={}, strict=False, max_length=200, description="parts of this file's regexes, called there as (?&name)"
    )
    lists: tuple[TermList, ...] = Field(default=(), strict=False, max_length=200, description="rules with many terms")
    rules: tuple[RuleEntry, ...] = Field(default=(), strict=False, max_length=2000, description="each by itself")


class PackFile(_Rules):
    """Rules that policies draw in by name."""

    version: Literal[1] = 1


class PolicyFile(_Rules):
    """What to look for in prompts and answers, and what to do then."""

    version: Literal[1] = Field(description="of this format")
    defaults: Defaults = Defaults()
    packs: Packs = Field(default=(), description="rules that are written elsewhere, by name or with differences")
    answers: tuple[AnswerEntry, ...] = Field(
        default=(), strict=False, max_length=100, description="rules about whole answers"
    )
    allow: Allow = Field(default=(), description="finds that are exactly one of these are none, but of secret rules")
    own_hosts: Hosts = Field(default=(), description="that links may lead to; *.example.com: all below example.com")
    score_block: Score = Field(default=100, description="a prompt whose flags add up to it is blocked; 0: never")
    overrides: Mapping[RuleIds, Override] = Field(
        default={}, strict=False, description="by id, * for anything: what is different about rules, packs' included"
    )
    profiles: Mapping[RuleId, Profile] = Field(
        default={}, strict=False, description="by name: what is different for some callers; see apply"
    )
    apply: tuple[Application, ...] = Field(
        default=(), strict=False, max_length=1000, description="the first that fits a caller decides"
    )


class _Untitled(GenerateJsonSchema):
    """Titles that only repeat a field's name hide descriptions in editors."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        _ = schema
        return False


def policy_json_schema(packs: Sequence[str], checks: Sequence[str]) -> dict[str, Any]:
    """Return the JSON Schema of a policy file that may name these packs and checks."""
    schema = PolicyFile.model_json_schema(by_alias=True, schema_generator=_Untitled)
    known = {"packs": list(packs), "checks": list(checks)}
    schema = _filled_in(schema, known)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Weir guard policy"}


def _filled_in(node: Any, known: Mapping[str, list[str]]) -> Any:
    """Put the names that exist where fields say only of what kind they are."""
    if isinstance(node, list):
        return [_filled_in(one, known) for one in node]
    if not isinstance(node, dict):
        return node
    names = node.get("enum")
    return {
        key: known[names] if key == "enum" and isinstance(names, str) else _filled_in(value, known)
        for key, value in node.items()
    }
