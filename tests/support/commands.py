"""The commands that a text shows, and what `weir` really has."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import typer

from weir.cli import VERBS

# At the beginning of a line or of an inline piece of code; a command may go on behind a backslash.
_COMMAND = re.compile(r"(?:^[ $]*|`|\.venv/bin/)weir ([a-z]+(?:[ ]+[^\s`|;)#]+)*)", re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command behind `weir`."""
    for found in _COMMAND.finditer(text.replace("\\\n", " ")):
        yield found[1].split()


def fault(words: list[str]) -> str | None:
    """Return what `weir` does not have of a command; flags are looked at, their values are not."""
    name = " ".join(words[:2]) if " ".join(words[:2]) in VERBS else words[0]
    if name not in VERBS:
        return f"there is no verb {name}"
    command, rest = _command(name), words[len(name.split()) :]
    while hasattr(command, "commands") and rest and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    if hasattr(command, "commands") and rest and not rest[0].startswith("-") and not command.invoke_without_command:
        return f"weir {name} has no {rest[0]}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {found[0] for word in rest if (found := re.match(r"--[a-z0-9-]+", word))}
    unknown = sorted(given - known - {"--help"})
    return f"weir {name} takes no {', '.join(unknown)}" if unknown else None


@cache
def _command(name: str) -> Any:
    return typer.main.get_command(import_module(VERBS[name].module).app)
