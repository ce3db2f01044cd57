"""The recipe of a classifier: one strict YAML. See training/recipes/classifiers/injection.yaml."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weir.contracts.errors import UsageError
from weir.contracts.request import MODEL_NAME
from weir.release.ngrams import Ngrams
from weir_training.classifier.generate import LABELS
from weir_training.recipe import RECIPES, Share
from weir_training.strict import Strict, load_yaml, parse

SHIPPED = RECIPES / "classifiers"
Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]


class DataPart(Strict):
    """Rows of JSONL `{"text", "label"}`, made-up ones (prompt injection only), or both."""

    made: int = Field(default=0, ge=0, le=1_000_000, description="made-up rows to train on")
    train: tuple[str, ...] = ()
    heldout: str | None = Field(default=None, description="never trained on, no threshold is chosen on it")
    validation_share: float = Field(
        default=0.2, gt=0.0, lt=0.9, description="of the rows, for calibration and threshold"
    )


class FeaturesPart(Strict):
    """What a text is cut into (`weir.release.ngrams`)."""

    buckets: int = Field(default=1 << 14, ge=64, le=1 << 20)
    orders: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field(default=(1, 2, 3, 4), min_length=1, max_length=8)

    def ngrams(self) -> Ngrams:
        return Ngrams(self.buckets, self.orders)


class ModelPart(Strict):
    """Embeddings, three convolutions over half as many places, and two ways to pool them."""

    width: int = Field(default=24, ge=4, le=512)
    channels: int = Field(default=48, ge=4, le=1024)


class OptimPart(Strict):
    """AdamW on a one-cycle schedule; `threads` is part of the run's identity."""

    lr: float = Field(default=4.0e-3, gt=0.0, le=1.0)
    batch_size: int = Field(default=96, ge=1)
    epochs: int = Field(default=3, ge=1)
    dropout: Share = 0.3
    hidden_ids: Share = Field(default=0.15, description="ids that a step does not see, by chance")
    threads: int = Field(default=2, ge=1, le=256)


class WindowPart(Strict):
    """Longer texts are read through windows; a text's score is that of its worst one."""

    chars: int = Field(default=384, ge=32, le=4096)
    stride: int = Field(default=256, ge=16)

    @model_validator(mode="after")
    def _overlaps(self) -> Self:
        if self.stride > self.chars:
            raise ValueError("stride must not be longer than a window: nothing may lie between two")
        return self


class GatePart(Strict):
    """What a release must keep."""

    auc: Share = Field(default=0.95, description="on validation rows")
    max_abs: float = Field(default=1e-4, gt=0.0, description="between the graph's scores and the checkpoint's")


class ClassifierRecipe(Strict):
    """Relative paths are relative to the recipe's own folder."""

    schema_version: Literal[1] = 1
    task: Literal["classify"]
    name: str = Field(pattern=MODEL_NAME, description="name of the model that is published")
    seed: int = Field(default=42, ge=0, lt=2**32)
    labels: tuple[Label, Label] = Field(default=LABELS, description="what is fine, and what is looked for")
    false_positive_rate: float = Field(
        default=0.005, gt=0.0, lt=0.5, description="on validation rows; sets the threshold"
    )
    data: DataPart
    beside: tuple[str, ...] = Field(default=(), description="packs of guard rules that are measured on the same rows")
    features: FeaturesPart = FeaturesPart()
    model: ModelPart = ModelPart()
    optim: OptimPart = OptimPart()
    window: WindowPart = WindowPart()
    gate: GatePart = GatePart()

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        if not self.data.made and not self.data.train:
            raise ValueError("data: give train files, made rows, or both")
        if self.data.made and self.labels != LABELS:
            raise ValueError(f"data.made: made-up rows are labelled {' and '.join(LABELS)}, not {self.labels}")
        return self

    @property
    def train(self) -> tuple[Path, ...]:
        return tuple(map(Path, self.data.train))

    @property
    def heldout(self) -> Path | None:
        return None if self.data.heldout is None else Path(self.data.heldout)

    @property
    def files(self) -> tuple[Path, ...]:
        return self.train if self.heldout is None else (*self.train, self.heldout)

    def digest(self) -> str:
        """SHA-256 of the recipe, with names in place of paths: it hashes alike in every checkout."""
        tree = self.model_dump(mode="json")
        tree["data"]["train"] = [Path(path).name for path in self.data.train]
        tree["data"]["heldout"] = None if self.data.heldout is None else Path(self.data.heldout).name
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def load_classifier_recipe(name: str) -> ClassifierRecipe:
    """Read a shipped recipe, e.g. `injection`, or a YAML file.

    Raises:
        UsageError: there is none, or it has faults: all are named.
    """
    path = SHIPPED / f"{name}.yaml"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
        raise UsageError(f"{name}: no such classifier recipe (shipped ones: {known}; or give a YAML file)")
    recipe = parse(ClassifierRecipe, load_yaml(path), source=str(path))
    return _absolute(recipe, path.resolve().parent)


def _absolute(recipe: ClassifierRecipe, folder: Path) -> ClassifierRecipe:
    def at(name: str) -> str:
        return str((folder / Path(name).expanduser()).resolve())

    heldout = recipe.data.heldout
    changes = {"train": tuple(map(at, recipe.data.train)), "heldout": None if heldout is None else at(heldout)}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})
