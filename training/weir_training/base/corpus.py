"""Running English text: what the Python standard library says about itself."""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

_SKIPPED_FOLDERS = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"})
_SHORTEST_DOCSTRING_CHARS = 60
_LONGEST_PASSAGE_CHARS = 600


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """A named list of texts with the licence they come under."""

    name: str
    licence: str
    texts: tuple[str, ...]

    @property
    def chars(self) -> int:
        return sum(map(len, self.texts))

    @property
    def sha256(self) -> str:
        """Hash of the texts in order, so a rebuild elsewhere can tell whether it saw the same words."""
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()


@cache
def running_text() -> tuple[CorpusPart, ...]:
    """Return all running text. It depends on the Python version, which the manifest records beside the hashes."""
    return (
        CorpusPart("stdlib-docstrings", "PSF-2.0", tuple(_docstrings())),
        CorpusPart("pydoc-topics", "PSF-2.0", tuple(_pydoc_topics())),
    )


def _docstrings() -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if _SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts):
            yield from _docstrings_of(path)


def _docstrings_of(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # the library holds a few templates that are no Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) > _SHORTEST_DOCSTRING_CHARS:
                yield from passages(text)


def _pydoc_topics() -> Iterator[str]:
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    for name in sorted(topics):
        yield from passages(topics[name])


def passages(text: str) -> Iterator[str]:
    """Cut `text` at paragraph ends into pieces of at most about 600 characters; longer paragraphs are cut hard."""
    piece = ""
    for paragraph in text.split("\n\n"):
        if piece and len(piece) + len(paragraph) > _LONGEST_PASSAGE_CHARS:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}".strip()[:_LONGEST_PASSAGE_CHARS]
    if piece:
        yield piece
