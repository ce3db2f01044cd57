"""The text of a key: `wk_<id>_<secret><checksum>`, shown once.

The secret holds 256 random bits, so a plain SHA-256 of it is safe to keep: there is nothing to guess, hence nothing
that a salt or a slow hash would slow down, and a slow hash would cost every request. The checksum tells a typing error
from a key that is not known (any more).
"""

import hashlib
import secrets
import string
import zlib
from typing import Final, NamedTuple

_ALPHABET: Final = string.digits + string.ascii_letters
_PREFIX: Final = "wk_"
_ID_LENGTH: Final = 12
_SECRET_LENGTH: Final = 43  # 62 ** 43 > 2 ** 256
_CHECKSUM_LENGTH: Final = 6  # 62 ** 6 > 2 ** 32
_ID_END: Final = len(_PREFIX) + _ID_LENGTH
LENGTH: Final = _ID_END + 1 + _SECRET_LENGTH + _CHECKSUM_LENGTH
_CHARACTERS: Final = frozenset((_ALPHABET + "_").encode())


class NewSecret(NamedTuple):
    """`text` is for the caller and kept nowhere; `digest` is what the database gets."""

    key_id: str
    text: str
    digest: bytes


def new_secret(key_id: str | None = None) -> NewSecret:
    """Make a key; `key_id` when an existing one gets another secret."""
    key_id = key_id or "k_" + secrets.token_hex(_ID_LENGTH // 2)
    body = f"{_PREFIX}{key_id[2:]}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    text = body + _checksum(body.encode())
    return NewSecret(key_id, text, digest_of(text.encode()))


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def id_in(key: bytes) -> str:
    """Return the id that the text of a key names; it says nothing about whether the key is good."""
    return "k_" + key[len(_PREFIX) : _ID_END].decode("latin-1")


def is_well_formed(key: bytes) -> bool:
    """Whether somebody could have been given this text: right shape, right checksum."""
    body, checksum = key[:-_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
    if len(key) != LENGTH or not key.startswith(_PREFIX.encode()) or not _CHARACTERS.issuperset(key):
        return False
    return checksum == _checksum(body).encode()


def _checksum(body: bytes) -> str:
    value, digits = zlib.crc32(body), ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return digits
