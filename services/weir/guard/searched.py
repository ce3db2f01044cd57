"""A text in the forms in which it is searched, each made when it is first asked for."""

from typing import Any

from weir.guard.native.library import core, wide


class Searched:
    """Folded text. `looked`: what indexes found in it, for those who ask them again."""

    __slots__ = ("_wide", "looked", "text")

    def __init__(self, text: str, as_wide: bytes | None = None) -> None:
        self.text = text
        self.looked: dict[object, Any] = {}
        self._wide = as_wide

    @property
    def wide(self) -> bytes:
        if self._wide is None:
            self._wide = wide(self.text)
        return self._wide


class Encoded:
    """The plain view as RE2 sees it: UTF-8, with positions in characters outside and bytes inside."""

    __slots__ = ("_byte", "_character", "_folded", "_wide", "is_ascii", "plain", "raw")

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self.raw = plain.encode()
        self.is_ascii = plain.isascii()
        self._folded: Searched | None = None
        self._wide: bytes | None = None
        self._byte, self._character = 0, 0  # the last place asked for

    @property
    def folded(self) -> Searched:
        if self._folded is None:
            native = core()
            small = (self.plain.lower(),) if native is None else native.module.small(self.plain)
            self._folded = Searched(*small)
        return self._folded

    @property
    def wide(self) -> bytes:
        if self._wide is None:
            self._wide = wide(self.plain)
        return self._wide

    def byte(self, character: int) -> int:
        if self.is_ascii:
            return character
        if 2 * character < self._character:
            self._byte, self._character = 0, 0
        if character < self._character:  # what denies a find has the search go back a little, again and again
            self._byte -= len(self.plain[character : self._character].encode())
        else:
            self._byte += len(self.plain[self._character : character].encode())
        self._character = character
        return self._byte

    def character(self, byte: int) -> int:
        if self.is_ascii:
            return byte
        if 2 * byte < self._byte:
            self._byte, self._character = 0, 0
        if byte < self._byte:
            self._character -= len(self.raw[byte : self._byte].decode())
        else:
            self._character += len(self.raw[self._byte : byte].decode())
        self._byte = byte
        return self._character
