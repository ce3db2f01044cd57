"""A tiny classifier, really trained, and one that answers as a test says."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.scripted import Scripted
from weir.oip.infer import Scored
from weir_training.classifier.recipe import load_classifier_recipe
from weir_training.classifier.release import Trained, train_and_publish


def train_tiny(home: Path) -> Trained:
    """Train and publish the shipped tiny recipe below `home`; a few seconds."""
    return train_and_publish(load_classifier_recipe("injection-tiny"), home, repository=home / "model_repository")


class ScriptedClassifier(Scripted):
    """Scores by `score`, `delay_s` after it was asked, or fails with `error`; `weir.backends.classifier.Classifier`."""

    def __init__(self, score: Callable[[str], float] = lambda _: 0.0, *, threshold: float = 0.5) -> None:
        super().__init__()
        self.score = score
        self.threshold = threshold
        self.asked: list[tuple[str, ...]] = []
        self.is_closed = False

    async def scored(self, texts: Sequence[str], *, timeout_s: float) -> Scored:
        del timeout_s  # an unkind classifier takes no notice
        self.asked.append(tuple(texts))
        await self.waited()
        return Scored(tuple(map(self.score, texts)), self.threshold)

    async def aclose(self) -> None:
        self.is_closed = True
