"""The manifest of a classifier's release: texts in, one score each out."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weir.contracts.frozen import Frozen
from weir.contracts.manifest import SCHEMA_VERSION, FileEntry, Flavour, Lineage
from weir.contracts.request import MODEL_NAME

Share = Annotated[float, Field(ge=0, le=1)]


class Hashed(Frozen):
    """What a text is cut into, see `weir.release.ngrams` and `weir.release.windows`."""

    buckets: int = Field(ge=64, le=1 << 20)
    orders: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field(min_length=1, max_length=8)
    window_chars: int = Field(ge=32, le=4096)
    window_stride: int = Field(ge=16)

    @model_validator(mode="after")
    def _overlaps(self) -> Self:
        if self.window_stride > self.window_chars:
            raise ValueError("window_stride is longer than window_chars: something would lie between two windows")
        return self


class Threshold(Frozen):
    """The score from which on a text counts as found, and what was seen of it where it was chosen."""

    score: Share
    false_positive_rate: Share
    recall: Share
    fine_rows: int = Field(ge=1, description="of the validation rows, those whose label is the first one")
    rows: int = Field(ge=2)


class GoldenText(Frozen):
    """A text and its score in the released graph; asked again at every load."""

    text: str
    score: Share


class ScoreParity(Frozen):
    """How the graph's scores differ from the checkpoint's, on validation and held-out rows."""

    max_abs: float
    rows: int
    bytes: int
    passed: bool
    reasons: tuple[str, ...] = ()


class ClassifierFormat(Frozen):
    flavour: Flavour
    graph: str = Field(description="path of the ONNX file inside the release")
    parity: ScoreParity


class ClassifierManifest(Frozen):
    """Beside `ReleaseManifest`: a release says in `task` which of the two it is."""

    schema_version: Literal[1] = SCHEMA_VERSION
    task: Literal["classify"] = "classify"
    model: str = Field(pattern=MODEL_NAME)
    version: int = Field(ge=1)
    created: datetime
    files: tuple[FileEntry, ...]
    lineage: Lineage
    labels: tuple[str, str] = Field(description="what is fine, and what is looked for: scores are of the second")
    features: Hashed
    threshold: Threshold
    golden: tuple[GoldenText, ...] = Field(min_length=1)
    formats: tuple[ClassifierFormat, ...] = Field(min_length=1)
    serve_flavour: Flavour
    gate_passed: bool
    evaluation: dict[str, float] = Field(default_factory=dict, description="e.g. heldout_recall, heldout_auc")
