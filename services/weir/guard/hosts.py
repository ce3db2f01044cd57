"""Which web addresses lead to hosts of one's own: rules about links leave those alone."""

from collections.abc import Iterable
from string import ascii_lowercase, digits

_LETTERS = frozenset(ascii_lowercase + digits + "-.")
_ANY = "*."
_MOST = 100  # characters of a name; the rules look at a few more


class Hosts:
    """Hosts by name; `*.example.com` stands for all that are below example.com. Immutable."""

    def __init__(self, names: Iterable[str]) -> None:
        names = [name.lower() for name in names]
        self._names = frozenset(name for name in names if not name.startswith(_ANY))
        self._domains = tuple(name.removeprefix("*") for name in names if name.startswith(_ANY))

    def is_foreign(self, text: str) -> bool:
        """Whether `text`, which ends where the host of an address does, names another host, or none for certain.

        HTML but for `<a href=` is foreign: it may load more than the first thing that it names. So is anything but a
        plain name, with a port at most: a name before an @, percent signs, letters that are not ASCII.
        """
        if text.startswith("<") and not "".join(text.lower().split()).startswith("<ahref="):
            return True
        _, mark, host = text.lower().rpartition("//")
        if not mark and not host.startswith("www."):
            host = f"www.{host.rpartition('](www.')[2]}" if "](www." in host else ""
        name, _, port = host.partition(":")
        name = name.removesuffix(".")
        if (
            not 0 < len(name) <= _MOST
            or not _LETTERS.issuperset(name)
            or (port and not (port.isascii() and port.isdigit()))
        ):
            return True
        return name not in self._names and not name.endswith(self._domains)
