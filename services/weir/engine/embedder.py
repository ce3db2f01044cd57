"""Makes vectors of texts with an embedder's graph: rows that wait together and are about as long run together."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weir.contracts.embedder import EmbedderManifest
from weir.contracts.errors import (
    BackendError,
    OverloadedError,
    ReleaseError,
    ValidationError,
)
from weir.engine.golden import GoldenMismatchError
from weir.engine.texts import Batched, BatchObserver, open_graph
from weir.release.hashing import sha256_file
from weir.release.reader import TOKENIZER, EmbedderRelease, open_embedder
from weir.release.tokenizer import ReleaseTokenizer

_BATCH_ROWS: Final = 16
_BATCH_TOKENS: Final = 2048  # padding included: a run is a fraction of a second, and whoever comes next waits for one
_MAX_WAITING_TOKENS: Final = 1 << 20
_GOLDEN_COSINE: Final = 0.9999  # another processor rounds differently
Row = Sequence[int]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """What an embedder was made from, and what it takes and gives."""

    model: str
    version: int
    flavour: str
    dimensions: int
    context_tokens: int
    vocab_size: int
    pad_id: int


class VectorGraph:
    """A graph on onnxruntime: rows of token ids in, a vector of length 1 each out.

    Raises:
        ReleaseError: the file is no such graph.
    """

    def __init__(self, path: Path, *, dimensions: int, pad_id: int, threads: int = 1) -> None:
        self._session = open_graph(path, threads=threads)
        takes = [(i.name, i.type, len(i.shape)) for i in self._session.get_inputs()]
        gives = [(o.name, o.type, len(o.shape)) for o in self._session.get_outputs()]
        wanted = [(name, "tensor(int64)", 2) for name in ("input_ids", "attention_mask")]
        if takes != wanted or gives != [("embedding", "tensor(float)", 2)]:
            raise ReleaseError(f"{path.name}: not an embedder's graph")
        self._dimensions, self._pad_id = dimensions, pad_id

    def __call__(self, rows: Sequence[Row]) -> Vectors:
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self._pad_id, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        vectors: Vectors = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
        if vectors.shape != (len(rows), self._dimensions) or not np.isfinite(vectors).all():
            raise BackendError("the embedder's graph gave no such vectors")
        return vectors


class _Job:
    """Rows that somebody waits for."""

    def __init__(self, rows: Sequence[Row], dimensions: int) -> None:
        self.done: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self.tokens = sum(map(len, rows))
        self.vectors: Vectors = np.zeros((len(rows), dimensions), np.float32)
        self.left = len(rows)
        # Longest first: rows of about one length run together, with little padding.
        self.waiting = deque(sorted(enumerate(rows), key=lambda numbered: -len(numbered[1])))


class TextEmbedder(Batched[_Job]):
    """Makes vectors of rows of token ids; see `Batched`."""

    def __init__(
        self,
        graph: VectorGraph,
        tokenizer: ReleaseTokenizer,
        info: EmbedderInfo,
        observer: BatchObserver | None = None,
    ) -> None:
        super().__init__("embedder", info.model)
        self.info = info
        self.tokenizer = tokenizer
        self._graph = graph
        self._observer = observer

    @property
    def waiting(self) -> int:
        """Rows that have no vector yet."""
        return sum(job.left for job in self._jobs)

    async def vectors(self, rows: Sequence[Row]) -> Vectors:
        """Return a vector of length 1 for each row of token ids, which may not be empty.

        Cancelling the call drops what was not computed.

        Raises:
            ValidationError: a row is too long, or a token is not in the vocabulary.
            OverloadedError: too much waits.
            BackendUnavailableError: the embedder is being stopped.
            BackendError: the graph failed.
        """
        if not self._accepting:
            raise self._stopped()
        self._check(rows)
        job = _Job(rows, self.info.dimensions)
        if self._jobs and sum(other.tokens for other in self._jobs) + job.tokens > _MAX_WAITING_TOKENS:
            raise OverloadedError(1.0)
        self._begin(job)
        return await job.done

    def _check(self, rows: Sequence[Row]) -> None:
        info = self.info
        for number, row in enumerate(rows):
            if not 1 <= len(row) <= info.context_tokens:
                raise ValidationError(f"row {number}: 1 to {info.context_tokens} tokens are needed", "inputs")
            if not 0 <= min(row) <= max(row) < info.vocab_size:
                raise ValidationError(f"row {number}: a token beyond the vocabulary of {info.vocab_size}", "inputs")

    async def _turn(self) -> None:
        self._jobs = deque(job for job in self._jobs if not job.done.done())  # without those nobody waits for
        batch = self._filled()
        if not batch:
            return
        vectors = await self._computed(self._round, [row for _, _, row in batch])
        for (job, place, _), vector in zip(batch, vectors, strict=True):
            job.vectors[place] = vector
            job.left -= 1
            if not job.left and not job.done.done():
                job.done.set_result(job.vectors)

    def _filled(self) -> list[tuple[_Job, int, Row]]:
        """Take a row of each job in turn, so that a long list holds up nobody, while they fit into one run."""
        batch: list[tuple[_Job, int, Row]] = []
        longest, is_full = 0, False
        while not is_full:
            before = len(batch)
            for job in self._jobs:
                if not job.waiting:
                    continue
                most = max(longest, len(job.waiting[0][1]))
                if batch and (len(batch) == _BATCH_ROWS or most * (len(batch) + 1) > _BATCH_TOKENS):
                    is_full = True
                    break
                batch.append((job, *job.waiting.popleft()))
                longest = most
            is_full = is_full or len(batch) == before
        self._jobs.rotate(-1)
        return batch

    def _round(self, rows: Sequence[Row]) -> Vectors:
        began = monotonic()
        vectors = self._graph(rows)
        if self._observer is not None:
            self._observer.batch_scored(len(rows), monotonic() - began)
        return vectors


def load_embedder(root: Path, *, threads: int = 1, observer: BatchObserver | None = None) -> TextEmbedder:
    """Check the release at `root`, load its graph, ask the golden texts again.

    Raises:
        GoldenMismatchError: a golden text has other tokens or another vector than when it was released.
        ReleaseError: the release is not what its manifest says, or the graph does not load.
    """
    release = open_embedder(root)
    tokenizer = tokenizer_of(release)
    graph = check_golden(release, tokenizer, threads=threads)
    return TextEmbedder(graph, tokenizer, info_of(release.manifest), observer)


def info_of(manifest: EmbedderManifest) -> EmbedderInfo:
    return EmbedderInfo(
        manifest.model,
        manifest.version,
        manifest.serve_flavour,
        manifest.dimensions,
        manifest.context_tokens,
        manifest.vocab_size,
        manifest.pad_id,
    )


def tokenizer_of(release: EmbedderRelease) -> ReleaseTokenizer:
    """Raises ReleaseError when the tokenizer is not the one that the manifest names."""
    path = release.root / TOKENIZER
    if sha256_file(path) != release.manifest.tokenizer_sha256:
        raise ReleaseError(f"{release.root}: {TOKENIZER} is not the file its manifest names")
    return ReleaseTokenizer(path)


def check_golden(release: EmbedderRelease, tokenizer: ReleaseTokenizer, *, threads: int = 1) -> VectorGraph:
    """Load the release's graph; return it if the golden texts have the tokens and vectors they had.

    Raises:
        GoldenMismatchError: one has others.
        ReleaseError: the graph does not load.
    """
    manifest, chosen = release.manifest, release.format()
    path = release.root / chosen.graph
    graph = VectorGraph(path, dimensions=manifest.dimensions, pad_id=manifest.pad_id, threads=threads)
    for number, golden in enumerate(manifest.golden):
        if tuple(tokenizer.encode_whole(golden.text)) != golden.ids:
            raise GoldenMismatchError(f"{chosen.flavour}: golden text {number} has other tokens than when released")
        cosine = float(np.dot(graph([golden.ids])[0], np.asarray(golden.vector, np.float32)))
        if not cosine >= _GOLDEN_COSINE:
            raise GoldenMismatchError(f"{chosen.flavour}: golden text {number} has another vector than when released")
    return graph
