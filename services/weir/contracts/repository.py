"""Who may change what a node serves."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr

REPOSITORY_KEY: Final = "weir-repository-key"
"""The header that carries the key; over Triton's gRPC it has the prefix `triton-grpc-protocol-`."""


def _is_sendable(key: SecretStr) -> SecretStr:
    if not all(33 <= ord(character) <= 126 for character in key.get_secret_value()):
        raise ValueError("visible ASCII characters only: it is sent as a header")
    return key


RepositoryKey = Annotated[SecretStr, Field(min_length=8, max_length=128), AfterValidator(_is_sendable)]
