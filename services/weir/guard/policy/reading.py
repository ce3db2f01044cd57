"""Reads a policy's files: small enough, inside its directory, YAML without surprises, and each one's digest noted."""

from collections.abc import Iterable
from hashlib import sha256
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import re2
import yaml

from weir.guard.policy.errors import PolicyError

MAX_YAML_BYTES = 2 << 20
MAX_LIST_BYTES = 16 << 20
_MAX_DEPTH = 32


def read_file(place: Traversable, where: str, limit: int) -> bytes:
    """Return a file's content; `where` begins error messages."""
    try:
        if not place.is_file():
            raise PolicyError([f"{where}: no such file"])
        with place.open("rb") as file:
            content = bytes(file.read(limit + 1))
    except OSError as error:
        raise PolicyError([f"{where}: cannot be read: {error.strerror}"]) from error
    if len(content) > limit:
        raise PolicyError([f"{where}: larger than {limit >> 20} MiB"])
    return content


def decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyError([f"{where}: not UTF-8 (byte {error.start})"]) from None


class Reader:
    """Reads files below one directory and notes the digest of every one in `digests`, under `prefix` and its name.

    `folder` None: the policy came as text alone and may not draw in files.
    """

    def __init__(self, folder: Traversable | None, digests: dict[str, str], prefix: str = "") -> None:
        self._folder = folder
        self.digests = digests
        self._prefix = prefix

    def text(self, name: str, user: str, *, sha: str | None = None, limit: int = MAX_LIST_BYTES) -> str:
        """Return a file's text; `user` is what error messages say needs it."""
        where = f"{user}: {name}"
        content = read_file(self._place(name, where), where, limit)
        digest = sha256(content).hexdigest()
        if sha is not None and sha != digest:
            raise PolicyError([f"{where}: its sha256 is {digest}, not the one that is written"])
        self.digests[self._prefix + name] = digest
        return decoded(content, where)

    def yaml(self, name: str, user: str, *, sha: str | None = None) -> Any:
        return parsed(self.text(name, user, sha=sha, limit=MAX_YAML_BYTES), name)

    def terms(self, name: str, user: str, *, sha: str | None = None) -> tuple[str, ...]:
        r"""Return a list file's lines without comments, blank lines and repetitions. `\#` begins a term with #."""
        lines = (line.strip() for line in self.text(name, user, sha=sha).split("\n"))
        terms = dict.fromkeys(line.removeprefix("\\") for line in lines if line and not line.startswith("#"))
        return tuple(terms)

    def below(self, name: str) -> "Reader":
        """Return a reader of the directory that the file `name` is in."""
        if self._folder is None:
            return self
        parent = "".join(f"{part}/" for part in name.split("/")[:-1])
        return Reader(self._folder.joinpath(parent), self.digests, self._prefix + parent)

    def _place(self, name: str, where: str) -> Traversable:
        if self._folder is None:
            raise PolicyError([f"{where}: a policy given as text cannot draw in files"])
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            raise PolicyError([f"{where}: leaves the policy's directory"])
        place = self._folder.joinpath(name)
        inside = not isinstance(self._folder, Path) or Path(str(place)).resolve().is_relative_to(self._folder.resolve())
        if not inside:  # by a link
            raise PolicyError([f"{where}: leaves the policy's directory"])
        return place


class _Loader(yaml.CSafeLoader):
    """Plain scalars mean what YAML 1.2 says: `off`, `no` and 12:30 are text, so that terms need no quotes."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", "^(?:~|null|)$", ["~", "n", ""]),
    ("bool", "^(?:true|false)$", ["t", "f"]),
    ("int", "^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re2.compile(_pattern), _first)


def parsed(text: str, name: str) -> Any:
    """Parse YAML, refusing what makes a file say other than it seems, or cost more than its size."""
    try:
        _check_events(text, name)
        return _constructed(text, name)
    except yaml.MarkedYAMLError as error:
        raise PolicyError([f"{name}: not YAML: {error.problem}{_line(error.problem_mark)}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise PolicyError([f"{name}: not YAML: {str(error).splitlines()[0]}"]) from None


def _constructed(text: str, name: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _check_keys(node, name)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _check_events(text: str, name: str) -> None:
    """Look before anything is built: libyaml recurses until the stack ends, and aliases multiply."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise PolicyError(
                [f"{name}: aliases (*{event.anchor}) are not taken{_line(event.start_mark)}: write it out"]
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise PolicyError([f"{name}: nested deeper than {_MAX_DEPTH}{_line(event.start_mark)}"])


def _check_keys(node: yaml.Node | None, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise PolicyError([f"{name}: a key is not text{_line(key.start_mark)}"])
            if key.value in seen:
                raise PolicyError([f"{name}: {key.value!r} is there twice{_line(key.start_mark)}"])
            seen.add(key.value)
            _check_keys(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, name)


def _line(mark: Any) -> str:
    return "" if mark is None else f" (line {mark.line + 1})"


def digest_of(digests: Iterable[tuple[str, str]]) -> str:
    """Return one digest for files by name and digest, whatever the order they were read in."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests))
    return sha256(lines.encode()).hexdigest()
