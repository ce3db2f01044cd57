"""Strict schemas of everything that the chart makes: Kubernetes' own, and of custom resources.

The latter are read from TypeScript declarations that were generated from the operators' Go types: names, types, what is
required and what is unknown; not the patterns of strings.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import jsonschema_rs

from tests.support.cluster_tools import core_definitions, type_files

Schema = dict[str, Any]

_INTERFACE: Final = re.compile(r"export interface (\w+)(?: extends ([\w, <>]+?))? (\{.*?^\})", re.MULTILINE | re.DOTALL)
_ALIAS: Final = re.compile(r"^export type (I\w+) = (.+?);$", re.MULTILINE | re.DOTALL)
_LONG_NAME: Final = re.compile(r"export type \{ (\w+) as (\w+),")
_COMMENT: Final = re.compile(r"/\*\*.*?\*/", re.DOTALL)
_REFERENCE: Final = re.compile(r"\"\$ref\": \"#/\$defs/([^\"]+)\"")
_WORD: Final = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|\w+|[{}\[\]<>|:;?,])""")
_PLAIN: Final[Mapping[str, Schema]] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "any": {},
    "unknown": {},
    "object": {"type": "object"},
}
# Kubernetes' own types whose declarations are elsewhere: the schema that the version has.
_TIME: Final[Schema] = {"type": "string"}


def problems_of(thing: Mapping[str, Any], version: str) -> list[str]:
    """Return what a strict API server of this version would refuse: wrong types, unknown and missing fields."""
    validator = _validator(thing["apiVersion"], thing["kind"], version)
    if validator is None:
        return [f"no schema of {thing['apiVersion']} {thing['kind']}"]
    return [f"{'.'.join(map(str, e.instance_path))}: {e.message[-300:]}" for e in validator.iter_errors(thing)]


@cache
def _validator(api_version: str, kind: str, version: str) -> Any:
    definitions = _definitions(version)
    group, _, number = api_version.rpartition("/")
    name = _core_names(version).get((group, number, kind)) or f"custom.{api_version}.{kind}"
    if name not in definitions:
        return None
    return jsonschema_rs.validator_for({"$ref": f"#/$defs/{_escaped(name)}", "$defs": _needed(name, definitions)})


def _needed(name: str, definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """Only what a type refers to: all of them together take a tenth of a second to compile, every time."""
    needed: dict[str, Schema] = {}
    left = [name]
    while left:
        if (one := left.pop()) not in needed:
            needed[one] = definitions[one]
            left += _REFERENCE.findall(json.dumps(definitions[one]))
    return needed


@cache
def _core_names(version: str) -> dict[tuple[str, str, str], str]:
    return {
        (known["group"], known["version"], known["kind"]): name
        for name, schema in core_definitions(version).items()
        for known in schema.get("x-kubernetes-group-version-kind", [])
    }


@cache
def _definitions(version: str) -> dict[str, Schema]:
    core = core_definitions(version)
    return {**core, **_custom(core)}


def _custom(core: Mapping[str, Schema]) -> dict[str, Schema]:
    """Schemas of the declared types, by their long name, and of resources also as `custom.API_VERSION.KIND`."""
    places = {"I" + re.sub(r"(?:^|[.-])(\w)", lambda m: m[1].upper(), name): f"#/$defs/{name}" for name in core}
    found: dict[str, Schema] = {}
    for path in type_files():
        text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
        declared = dict(match.groups() for match in _LONG_NAME.finditer(text))
        for match in _INTERFACE.finditer(text):
            name, parents, body = match.groups()
            parent_names = [word.strip() for word in (parents or "").split(",") if word.strip()]
            schema = _Types(body, places).read() | {"x-parents": [p for p in parent_names if p != "TypeMeta"]}
            found[declared.get(name, name)] = schema
            if "TypeMeta" in parent_names:
                of = schema["properties"]
                found[f"custom.{of['apiVersion']['const']}.{of['kind']['const']}"] = schema
        for name, written in _ALIAS.findall(text):
            found[declared.get(name, name)] = _Types(written, places).read()
    return {name: _inherited(schema, found) for name, schema in found.items()}


def _inherited(schema: Schema, known: Mapping[str, Schema]) -> Schema:
    whole = {key: value for key, value in schema.items() if key != "x-parents"}
    for parent in schema.get("x-parents", []):
        above = _inherited(known[parent], known)
        whole["properties"] = {**above.get("properties", {}), **whole.get("properties", {})}
        whole["required"] = [*above.get("required", []), *whole.get("required", [])]
    return whole


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


class _Types:
    """Reads one type as TypeScript writes it."""

    def __init__(self, text: str, places: Mapping[str, str]) -> None:
        self._words = [match[1] for match in _WORD.finditer(text)]
        self._at = 0
        self._places = places

    def read(self) -> Schema:
        choices = [self._single()]
        while self._peek() == "|":
            self._next()
            choices.append(self._single())
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def _single(self) -> Schema:
        word = self._next()
        if word == "{":
            return self._members()
        if word == "Array":
            assert self._next() == "<"
            inner = self.read()
            assert self._next() == ">"
            return {"type": "array", "items": inner}
        if word.startswith('"'):
            return {"const": word[1:-1]}
        if word.isdigit():
            return {"const": int(word)}
        if word in _PLAIN:
            return _PLAIN[word]
        if word == "IIoK8sApimachineryPkgApisMetaV1Time":
            return _TIME
        return {"$ref": self._places.get(word, f"#/$defs/{word}")}

    def _members(self) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        others: Schema | bool = False
        while (word := self._next()) != "}":
            if word == "[":  # [key: string]: TYPE
                while self._next() != "]":
                    pass
                assert self._next() == ":"
                others = self.read()
            else:
                name, is_optional = word.strip('"'), self._peek() == "?"
                if is_optional:
                    self._next()
                else:
                    required.append(name)
                assert self._next() == ":"
                properties[name] = self.read()
            assert self._next() == ";"
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": others}

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _next(self) -> str:
        self._at += 1
        return self._words[self._at - 1]
