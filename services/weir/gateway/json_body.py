"""Request bodies as JSON: one reader for every surface, strict where two readers could disagree or memory could go."""

import re
from typing import Any

import orjson

from weir.gateway.refusals import LoneSurrogateError, UnreadableBodyError

MAX_DEPTH = 32
_HALF_A_CHARACTER = "surrogate in string"  # how orjson's words about a lone one end
_BOM = b"\xef\xbb\xbf"
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # possessive, and an open end matches too: linear time
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse_json(body: bytes) -> Any:
    """Return what `body` says.

    Integers beyond 64 bits come as floats; of equal keys the last one counts; a byte order mark is skipped.

    Raises:
        UnreadableBodyError: it is no JSON, not UTF-8, nested too deeply, or holds NaN, infinity or a lone surrogate.
    """
    body = body.removeprefix(_BOM)
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deeper_than(body, MAX_DEPTH):
        raise UnreadableBodyError(f"the body is nested more than {MAX_DEPTH} levels deep")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        kind = LoneSurrogateError if error.msg.endswith(_HALF_A_CHARACTER) else UnreadableBodyError
        raise kind(f"the body is not valid JSON text: {error.msg} at {where}") from None


def _is_deeper_than(body: bytes, levels: int) -> bool:
    """Take away the innermost pairs of brackets, level by level."""
    brackets = _STRINGS.sub(b"", body).translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(levels):
        rest = brackets.replace(b"[]", b"")
        if len(rest) == len(brackets):  # unbalanced: the parser says where
            return rest.count(b"[") > levels
        brackets = rest
    return b"[" in brackets
