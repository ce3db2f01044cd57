"""The manifest of an embedder's release: token ids in, one vector of length 1 each out."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from weir.contracts.frozen import Frozen
from weir.contracts.manifest import SCHEMA_VERSION, FileEntry, Flavour, Lineage, Sha256
from weir.contracts.request import MODEL_NAME

Pooling = Literal["mean", "last", "cls"]


class VectorParity(Frozen):
    """How the graph's vectors differ from the checkpoint's, whose hidden states were pooled text by text."""

    min_cosine: float
    max_abs: float
    rows: int = Field(description="texts, alone and in batches that pad them")
    bytes: int
    passed: bool
    reasons: tuple[str, ...] = ()


class EmbedderFormat(Frozen):
    flavour: Flavour
    graph: str = Field(description="path of the ONNX file inside the release")
    parity: VectorParity


class GoldenVector(Frozen):
    """A text, its tokens and its vector in the released graph; asked again at every load."""

    text: str
    ids: tuple[int, ...] = Field(min_length=1)
    vector: tuple[float, ...] = Field(min_length=1)


class EmbedderManifest(Frozen):
    """Beside `ReleaseManifest`: a release says in `task` which of the kinds it is."""

    schema_version: Literal[1] = SCHEMA_VERSION
    task: Literal["embed"] = "embed"
    model: str = Field(pattern=MODEL_NAME)
    version: int = Field(ge=1)
    created: datetime
    files: tuple[FileEntry, ...]
    lineage: Lineage
    pooling: Pooling
    dimensions: int = Field(ge=1, le=65_536)
    context_tokens: int = Field(ge=4, le=131_072, description="tokens of one text, special ones included")
    vocab_size: int = Field(ge=1)
    pad_id: int = Field(ge=0)
    tokenizer_sha256: Sha256
    golden: tuple[GoldenVector, ...] = Field(min_length=1)
    formats: tuple[EmbedderFormat, ...] = Field(min_length=1)
    serve_flavour: Flavour
    gate_passed: bool
    evaluation: dict[str, float] = Field(default_factory=dict)
