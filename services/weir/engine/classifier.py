"""Scores texts with a classifier's graph: what waits together runs together, and long texts let short ones pass."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weir.contracts.classifier import ClassifierManifest
from weir.contracts.errors import OverloadedError, ReleaseError
from weir.engine.golden import GoldenMismatchError
from weir.engine.texts import Batched, BatchObserver, open_graph
from weir.release.ngrams import Ids, Ngrams
from weir.release.reader import ClassifierRelease, open_classifier
from weir.release.windows import Windows, padded

_BATCH: Final = 16  # windows; a short text waits for one such batch at most
_MAX_WAITING_CHARS: Final = 4 << 20
_MAX_WAITING_TEXTS: Final = 4096
_THREADS: Final = 1  # of onnxruntime: a window is a millisecond's work, and the cores are a generator's beside it
_GOLDEN_ABS: Final = 1e-3  # another processor rounds differently


@dataclass(frozen=True, slots=True)
class ClassifierInfo:
    """What a classifier was made from; scores are of the label `sought`, and count from `threshold` on."""

    model: str
    version: int
    flavour: str
    sought: str
    threshold: float


class Scorer:
    """A graph on onnxruntime: windows of one batch in, a score each out.

    Raises:
        ReleaseError: the file is no such graph.
    """

    def __init__(self, path: Path, columns: int) -> None:
        self._session = open_graph(path, threads=_THREADS)
        takes = [(i.name, i.type, len(i.shape), i.shape[-1]) for i in self._session.get_inputs()]
        gives = [(o.name, o.type) for o in self._session.get_outputs()]
        if takes != [("ids", "tensor(int32)", 3, columns)] or gives != [("score", "tensor(float)")]:
            raise ReleaseError(f"{path.name}: not a classifier's graph with {columns} ids for each character")

    def __call__(self, ids: Ids) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(["score"], {"ids": ids})[0]
        return scores


class _Job:
    """Texts that somebody waits for. Windows are cut as they are needed: a long text holds up nobody."""

    def __init__(self, cut: Windows, texts: Sequence[str]) -> None:
        self.done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        self.chars = sum(map(len, texts))
        self.scores = [0.0] * len(texts)  # a text without anything to read is fine
        self._windows = ((place, ids) for place, text in enumerate(texts) for ids in cut.each(text))
        self.is_cut = False

    def next_window(self) -> tuple[int, Ids] | None:
        found = next(self._windows, None)
        self.is_cut = found is None
        return found


class TextClassifier(Batched[_Job]):
    """Scores texts; see `Batched`."""

    def __init__(
        self, scorer: Scorer, cut: Windows, info: ClassifierInfo, observer: BatchObserver | None = None
    ) -> None:
        super().__init__("classifier", info.model)
        self.info = info
        self._scorer = scorer
        self._cut = cut
        self._observer = observer

    @property
    def waiting(self) -> int:
        """Texts that have no score yet."""
        return sum(len(job.scores) for job in self._jobs)

    async def scores(self, texts: Sequence[str]) -> list[float]:
        """Return how likely each text is what this model looks for: the highest of its windows.

        Cancelling the call drops what was not computed.

        Raises:
            OverloadedError: too much waits.
            BackendUnavailableError: the classifier is being stopped.
            BackendError: the graph failed.
        """
        if not self._accepting:
            raise self._stopped()
        job = _Job(self._cut, texts)
        is_too_much = sum(other.chars for other in self._jobs) + job.chars > _MAX_WAITING_CHARS
        if self._jobs and (is_too_much or self.waiting + len(texts) > _MAX_WAITING_TEXTS):
            raise OverloadedError(1.0)
        self._begin(job)
        return await job.done

    async def _turn(self) -> None:
        jobs = tuple(job for job in self._jobs if not job.done.done())  # without those that nobody waits for
        self._settle(jobs, await self._computed(self._round, jobs) if jobs else 0)

    def _settle(self, jobs: Sequence[_Job], taken: int) -> None:
        """Answer what is complete; those that had their turn go behind the others."""
        for job in jobs:
            if job.is_cut and not job.done.done():
                job.done.set_result(job.scores)
        known = set(jobs)
        arrived = [job for job in self._jobs if job not in known]
        self._jobs = deque(job for job in (*jobs[taken:], *arrived, *jobs[:taken]) if not job.done.done())

    def _round(self, jobs: Sequence[_Job]) -> int:
        """Run one batch, a window of each job in turn; return how many jobs had theirs."""
        began = monotonic()
        batch, taken = self._filled(jobs)
        if batch:
            scores = self._scorer(padded([ids for _, _, ids in batch]))
            for (job, place, _), score in zip(batch, scores.tolist(), strict=True):
                job.scores[place] = max(job.scores[place], score)
            if self._observer is not None:
                self._observer.batch_scored(len(batch), monotonic() - began)
        return taken

    def _filled(self, jobs: Sequence[_Job]) -> tuple[list[tuple[_Job, int, Ids]], int]:
        batch: list[tuple[_Job, int, Ids]] = []
        open_jobs, taken = list(jobs[:_BATCH]), min(len(jobs), _BATCH)
        while open_jobs and len(batch) < _BATCH:
            still_open = []
            for job in open_jobs:
                if len(batch) < _BATCH and (found := job.next_window()) is not None:
                    batch.append((job, *found))
                if not job.is_cut:
                    still_open.append(job)
            open_jobs = still_open
        return batch, taken


def load_classifier(root: Path, *, observer: BatchObserver | None = None) -> TextClassifier:
    """Check the release at `root`, load its graph, score the golden texts again.

    Raises:
        GoldenMismatchError: a golden text has another score than when it was released.
        ReleaseError: the release is not what its manifest says, or the graph does not load.
    """
    release = open_classifier(root)
    manifest = release.manifest
    scorer = check_golden(release)
    flavour = release.format().flavour
    info = ClassifierInfo(manifest.model, manifest.version, flavour, manifest.labels[1], manifest.threshold.score)
    return TextClassifier(scorer, windows_of(manifest), info, observer)


def check_golden(release: ClassifierRelease) -> Scorer:
    """Load the release's graph; return it if the golden texts score as they did.

    Raises:
        GoldenMismatchError: one has another score than when it was released.
        ReleaseError: the graph does not load.
    """
    chosen, cut = release.format(), windows_of(release.manifest)
    scorer = Scorer(release.root / chosen.graph, cut.ngrams.columns)
    for number, golden in enumerate(release.manifest.golden):
        found = max((float(scorer(padded([ids]))[0]) for ids in cut.each(golden.text)), default=0.0)
        if not abs(found - golden.score) <= _GOLDEN_ABS:
            raise GoldenMismatchError(f"{chosen.flavour}: golden text {number} does not score as it did when released")
    return scorer


def windows_of(manifest: ClassifierManifest) -> Windows:
    features = manifest.features
    return Windows(Ngrams(features.buckets, features.orders), features.window_chars, features.window_stride)
