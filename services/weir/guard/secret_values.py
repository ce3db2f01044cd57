"""Tells a secret from a word, a placeholder or an identifier that anybody may know."""

import math
import re
from collections import Counter
from string import hexdigits

_SHORTEST = 8
_LEAST_ENTROPY = 2.9  # bits per character of 16 characters; random base 64 has about 3.8, hexadecimal 3.3
_SHORTEST_PASSWORD = 6
_PLACEHOLDERS = (
    *("example", "your", "placeholder", "changeme", "change_me", "change-me", "xxxx", "****", "insert", "replace"),
    *("dummy", "redacted"),
)
_CODE = (
    *("os.", "env", "self.", "process.", "config", "settings", "getenv", "secrets.", "vault", "none", "null", "true"),
    *("false", "undefined", "str", "$", "{", "<", "%s", "%(", "[", "("),
)
_NO_PASSWORDS = frozenset(
    {"password", "passwd", "pass", "pwd", "secret", "user", "username", "guest", "token", "x", "pw"}
)
_ASSIGNS = re.compile("[=:是为]")
_SYMBOLS = frozenset("!@#$%^&*?~")  # those that words and identifiers do not hold
_AROUND = " \t\r\n=:>是为\"'`"


def shannon(text: str) -> float:
    """Return the entropy of `text`'s characters, in bits per character."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


def is_random(text: str) -> bool:
    """Whether `text` looks like the output of a generator: letters and digits, no placeholder, enough entropy."""
    if len(text) < _SHORTEST or _is_placeholder(text):
        return False
    has_both = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
    return has_both and shannon(text) >= min(_LEAST_ENTROPY, 0.85 * math.log2(len(text)))


def is_secret_assignment(text: str) -> bool:
    """Whether what a find assigns (`key = value`, `key: value`, 密钥是 value) looks random."""
    value = _value(text)
    if _is_code(value) or not is_random(value) or not any(map(_is_mixed, _pieces(value))):
        return False
    is_page_token = _is_uuid(value) or (value.startswith("eyJ") and "." not in value)
    return not (text.lower().startswith("token") and is_page_token)


def is_password_assignment(text: str) -> bool:
    """As `is_secret_assignment`, but people make passwords of words: letters, and a digit or a symbol."""
    value = _value(text).split(",")[0].strip("*")
    if len(value) < _SHORTEST_PASSWORD or len(set(value)) < 4 or _is_code(value) or _is_placeholder(value):
        return False
    has_letter = any(map(str.isalpha, value))
    return has_letter and (any(map(str.isdigit, value)) or not _SYMBOLS.isdisjoint(value))


def is_url_password(text: str) -> bool:
    """Whether an address with `user:password@` holds a password, and not the word for one or a variable."""
    password = text.partition("://")[2].partition(":")[2].removesuffix("@")
    folded = password.lower()
    return not (folded in _NO_PASSWORDS or _is_code(password) or "..." in password or _is_placeholder(folded))


def _pieces(value: str) -> list[str]:
    for separator in "./-_":
        value = value.replace(separator, " ")
    return value.split()


def _is_mixed(piece: str) -> bool:
    """Whether it is neither a word nor a number: paths and names of classes are made of those."""
    return not piece.isalpha() and not piece.isdigit() and any(map(str.isalpha, piece))


def _is_uuid(value: str) -> bool:
    parts = value.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(c in hexdigits for part in parts for c in part)


def _is_placeholder(text: str) -> bool:
    return any(map(text.lower().__contains__, _PLACEHOLDERS))


def _is_code(value: str) -> bool:
    """Whether it is a variable, a call or a template rather than a value."""
    called, bracket, _ = value.replace("[", "(").partition("(")
    is_call = bool(bracket) and called.replace(".", "").replace("_", "").isalnum()
    return is_call or value.lower().startswith(_CODE)


def _value(text: str) -> str:
    """Return the last word behind the first sign of assignment; all of `text` without one."""
    sign = _ASSIGNS.search(text)
    if sign is None:
        return text.strip(_AROUND)
    words = text[sign.end() :].strip(_AROUND).split()
    return words[-1].strip(_AROUND) if words else ""
