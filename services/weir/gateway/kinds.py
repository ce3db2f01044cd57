"""Where a release of each kind belongs in a gateway's settings."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from weir.contracts.errors import ReleaseError
from weir.release.reader import WrongKindError

_PLACES: Final = {
    None: "`weir serve` takes it with --release (`releases` in the settings file)",
    "embed": "`weir serve` and `weir up` take it with --embedder (`embedders` in the settings file)",
    "classify": "serve it on a node, and name that node's URL and the model in `second_tier` of the settings file",
}


@contextmanager
def misplaced() -> Generator[None]:
    """Say of a release of another kind where it belongs."""
    try:
        yield
    except WrongKindError as error:
        raise ReleaseError(f"{error}; {_PLACES[error.task]}") from None
