"""From a policy file, and the packs and lists that it names, to a `PolicySet`."""

import json
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel

from weir.guard.fold import fold
from weir.guard.policy.defining import Definitions
from weir.guard.policy.errors import PolicyError, faults_of, nearest
from weir.guard.policy.policy_set import PolicySet
from weir.guard.policy.reading import MAX_YAML_BYTES, Reader, decoded, digest_of, parsed, read_file
from weir.guard.policy.resolving import BASE, Origin, Sources, Written, resolved
from weir.guard.policy.schema import (
    MAX_TERM,
    MAX_TERMS,
    AllowEntry,
    AnswerEntry,
    PackFile,
    PackUse,
    PolicyFile,
    RuleEntry,
    TermEntry,
    TermList,
)
from weir.guard.rules import MAX_HOLD, Action, AnswerRule, Rule

_Model = TypeVar("_Model", bound=BaseModel)


def default_policy() -> PolicySet:
    """Return the policy that is packaged with Weir."""
    name, folder = "default_policy.yaml", files("weir.guard")
    return parsed_policy(read_file(folder.joinpath(name), name, MAX_YAML_BYTES), name, Reader(folder, {}))


def load_policy(path: Path) -> PolicySet:
    """Read and check a policy file and what it draws in.

    Raises:
        PolicyError: something cannot be read or does not fit; the message names file, rule and reason.
    """
    content = read_file(path, f"{path}: the guard policy", MAX_YAML_BYTES)
    return parsed_policy(content, str(path), Reader(path.parent, {}))


def parse_policy(text: str, name: str = "policy.yaml", folder: Path | None = None) -> PolicySet:
    """Check a policy given as YAML text; `name` is what error messages call it, `folder` where its files are."""
    return parsed_policy(text.encode(), name, Reader(folder, {}))


def parsed_policy(content: bytes, name: str, reader: Reader) -> PolicySet:
    """Check a policy's bytes; `reader` reads what it draws in."""
    policy = _validated(PolicyFile, parsed(decoded(content, name), name), name)
    _check_apply(policy, name)
    drawing = _Drawing(reader, name, policy)
    sources = drawing.sources()
    rule_sets, origins = resolved(sources)
    return PolicySet(
        file=name,
        id=policy.id,
        version=policy.version,
        sha256=digest_of([("", sha256(content).hexdigest()), *reader.digests.items()]),
        rule_sets=rule_sets,
        apply=policy.apply,
        origins=origins,
        max_hold_chars=policy.defaults.max_hold_chars,
        warnings=(*drawing.warnings, *_idle_profiles(policy, name)),
        files=reader.digests,
    )


def _validated(model: type[_Model], raw: object, file: str) -> _Model:
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        raise PolicyError(faults_of(error, model, raw, file)) from None


class _Drawing:
    """Reads what one policy draws in, each pack once."""

    def __init__(self, reader: Reader, file: str, policy: PolicyFile) -> None:
        self._reader = reader
        self._file = file
        self._policy = policy
        self._terms = 0  # so far
        self.warnings: list[str] = []

    def sources(self) -> Sources:
        policy = self._policy
        uses = [*policy.packs, *(use for profile in policy.profiles.values() for use in profile.packs)]
        allow = {BASE: policy.allow, **{name: profile.allow for name, profile in policy.profiles.items()}}
        return Sources(
            file=self._file,
            policy=policy,
            own=tuple(self._written(policy, Origin(self._file), self._reader)),
            packs={use.label: self._pack(use) for use in dict.fromkeys(uses)},
            answers=tuple(map(self._answer, policy.answers)),
            allow={name: tuple(self._allowed(entries)) for name, entries in allow.items()},
        )

    def _pack(self, use: PackUse) -> tuple[Written, ...]:
        user = f"{self._file}: pack {use.label!r}"
        if use.file is not None:
            raw, file = self._reader.yaml(use.file, user, sha=use.sha256), use.file
            reader = self._reader.below(use.file)
        else:
            reader = Reader(files("weir.guard").joinpath("packs"), self._reader.digests, "packs/")
            file = f"{use.name}.yaml"
            if use.name not in pack_names():
                raise PolicyError([f"{user}: no such pack{nearest(str(use.name), pack_names())}"])
            raw = reader.yaml(file, user)
        pack = _validated(PackFile, raw, file)
        return tuple(self._written(pack, Origin(file, use.label), reader))

    def _written(self, file: PackFile | PolicyFile, origin: Origin, reader: Reader) -> Iterable[Written]:
        parts = Definitions(file.define, origin.file)
        for entry in (*file.lists, *file.rules):
            where = f"{origin.file}: {'rule' if isinstance(entry, RuleEntry) else 'list'} {entry.id!r}"
            terms = entry.terms
            if isinstance(entry, TermList) and entry.file is not None:
                terms = reader.terms(entry.file, where, sha=entry.sha256)
                if not terms:
                    raise PolicyError([f"{where}: {entry.file}: holds no term"])
            self._check(terms, where)
            self.warnings += [
                f"{where}: term number {n} is one character" for n, t in enumerate(terms, 1) if len(t) == 1
            ]
            yield Written(_rule(entry, terms, parts, where), entry.direction, entry.replacement, entry.text, origin)

    def _answer(self, entry: AnswerEntry) -> AnswerRule:
        where = f"{self._file}: answer rule {entry.id!r}"
        if entry.action == "fallback" and entry.text is None:
            raise PolicyError([f"{where}: fallback needs a text"])
        self._check(entry.topics, where)
        schema = entry.schema_of
        if entry.schema_file is not None:
            schema = _json_object(self._reader.text(entry.schema_file, where), f"{where}: {entry.schema_file}")
        return AnswerRule(entry.id, Action(entry.action), schema, entry.topics, entry.text or "", entry.routes)

    def _allowed(self, entries: Iterable[AllowEntry]) -> Iterable[str]:
        where = f"{self._file}: allow"
        for entry in entries:
            terms = (entry.term,) if entry.term else self._reader.terms(str(entry.file), where, sha=entry.sha256)
            self._check(terms, where)
            yield from terms

    def _check(self, terms: tuple[str, ...], where: str) -> None:
        self._terms += len(terms)
        if self._terms > MAX_TERMS:
            raise PolicyError([f"{where}: more than {MAX_TERMS:,} terms in all"])
        for number, term in enumerate(terms, 1):
            if len(term) > MAX_TERM:
                raise PolicyError([f"{where}: term number {number} is longer than {MAX_TERM} characters"])
            folded = fold(term)
            if not folded.strip():
                raise PolicyError([f"{where}: term number {number} is empty once folded"])
            if len(folded) > MAX_HOLD:
                raise PolicyError([f"{where}: term number {number} is longer than {MAX_HOLD} characters once folded"])


def pack_names() -> list[str]:
    """Return the names of the packs that come with Weir."""
    folder = files("weir.guard").joinpath("packs")
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _rule(entry: TermEntry, terms: tuple[str, ...], parts: Definitions, where: str) -> Rule:
    rule = Rule(
        entry.id,
        Action(entry.action),
        terms=terms,
        boundary=entry.match,
        is_squeezed=entry.squeeze,
        is_secret=entry.secret,
        score=entry.score,
        severity=entry.severity,
        hits=entry.examples.hit,
        misses=entry.examples.miss,
    )
    if not isinstance(entry, RuleEntry):
        return rule
    return replace(
        rule,
        regexes=tuple(parts.filled_in(regex, where) for regex in entry.regexes),
        keeps_case=entry.case == "keep",
        until=None if entry.until is None else parts.filled_in(entry.until, where),
        cap=entry.cap,
        validator=entry.validator,
    )


def _json_object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PolicyError([f"{where}: not JSON: {error}"]) from None
    if not isinstance(value, dict):
        raise PolicyError([f"{where}: a schema is a JSON object"])
    return value


def _check_apply(policy: PolicyFile, file: str) -> None:
    known = [BASE, *policy.profiles]
    for number, one in enumerate(policy.apply, 1):
        if one.profile not in known:
            raise PolicyError(
                [f"{file}: apply number {number}: {one.profile!r}: no such profile{nearest(one.profile, known)}"]
            )


def _idle_profiles(policy: PolicyFile, file: str) -> Iterable[str]:
    used = {one.profile for one in policy.apply}
    for name in policy.profiles:
        if name not in used:
            yield f"{file}: profiles: {name}: nothing in apply names it"
