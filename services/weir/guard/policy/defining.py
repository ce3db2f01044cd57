"""Parts of regexes with a name: a file's `define`, called in its regexes as `(?&name)`, as Perl calls a group."""

from collections.abc import Mapping
from typing import Any

import re2

from weir.guard.policy.errors import PolicyError, nearest

MAX_REGEX = 16_384  # characters, once all parts are in it
_CALL = re2.compile(r"(?s)\\.|\(\?&([^)]{0,64})\)")  # `\(` is a character of the text that is looked for


class Definitions:
    """The parts of one file. Immutable."""

    def __init__(self, written: Mapping[str, str], where: str) -> None:
        """`where` begins error messages.

        Raises:
            PolicyError: a part calls one that does not exist, or itself, is too long, or no regex.
        """
        self._parts: dict[str, str] = {}
        self._written, self._where = written, where
        for name in written:
            self._part(name, ())

    def filled_in(self, regex: str, where: str) -> str:
        """Return `regex` with its parts in it.

        Raises:
            PolicyError: it calls one that does not exist, or is too long then.
        """
        return self._filled(regex, where, ())

    def _filled(self, regex: str, where: str, callers: tuple[str, ...]) -> str:
        def put_in(call: Any) -> str:
            name = call[1]
            if name is None:
                return str(call[0])
            if name not in self._written:
                raise PolicyError([f"{where}: (?&{name}): define has no such part{nearest(name, self._written)}"])
            return f"(?:{self._part(name, callers)})"

        filled: str = _CALL.sub(put_in, regex)
        if len(filled) > MAX_REGEX:
            raise PolicyError([f"{where}: longer than {MAX_REGEX:,} characters, once all parts are in it"])
        return filled

    def _part(self, name: str, callers: tuple[str, ...]) -> str:
        if name in callers:
            raise PolicyError([f"{self._where}: define: {' -> '.join((*callers, name))}: a part calls itself"])
        if name not in self._parts:
            where = f"{self._where}: define: {name}"
            self._parts[name] = _whole(self._filled(self._written[name], where, (*callers, name)), where)
        return self._parts[name]


def _whole(part: str, where: str) -> str:
    """Return `part`, which is a regex by itself: `x)|(y` would say something else in each place that calls it."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(part, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise PolicyError([f"{where}: RE2 cannot take it: {reason.partition(':')[0]}"]) from None
    return part
