"""The embedders that settings name: their releases, and the nodes that serve them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from weir.contracts.errors import ReleaseError
from weir.gateway.kinds import misplaced
from weir.gateway.settings_embedder import EmbedderSettings
from weir.release.hashing import sha256_file
from weir.release.reader import MANIFEST, TOKENIZER, EmbedderRelease, newest_version, open_embedder
from weir.release.tokenizer import ReleaseTokenizer
from weir.routing.embedders import EmbedderNodes, Embedders

_SHA_DIGITS = 12


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """One embedder: what its release says, and who serves it."""

    name: str
    version: int
    release_sha256: str
    created: int
    context_tokens: int
    dimensions: int
    vocab_size: int
    tokenizer: ReleaseTokenizer
    embedders: Embedders
    timeout_s: float
    max_in_flight: int
    adapters: tuple[str, ...] = ()


def read_embedders(settings: Iterable[EmbedderSettings], nodes: EmbedderNodes) -> dict[str, EmbeddingModel]:
    """Open the releases; nodes that are known already are kept, others are not asked anything yet.

    Raises:
        ReleaseError: one is refused, or two are of one model.
    """
    models: dict[str, EmbeddingModel] = {}
    for chosen in settings:
        release = open_given(chosen.release)
        name = release.manifest.model
        if name in models:
            raise ReleaseError(f"{chosen.release}: there is an embedder {name} already")
        models[name] = _model(release, chosen, nodes.of(name, release.manifest.version, chosen.urls))
    return models


def labels_of(models: Mapping[str, EmbeddingModel]) -> list[tuple[str, str, str]]:
    """Name, version and digest of each, as metrics show them."""
    return [(one.name, str(one.version), one.release_sha256[:_SHA_DIGITS]) for one in models.values()]


def _model(release: EmbedderRelease, chosen: EmbedderSettings, embedders: Embedders) -> EmbeddingModel:
    manifest = release.manifest
    return EmbeddingModel(
        name=manifest.model,
        version=manifest.version,
        release_sha256=sha256_file(release.root / MANIFEST),
        created=int(manifest.created.timestamp()),
        context_tokens=manifest.context_tokens,
        dimensions=manifest.dimensions,
        vocab_size=manifest.vocab_size,
        tokenizer=ReleaseTokenizer(release.root / TOKENIZER),
        embedders=embedders,
        timeout_s=chosen.timeout_s,
        max_in_flight=chosen.max_in_flight,
    )


def open_given(root: Path) -> EmbedderRelease:
    """Open an embedder; a folder of versions stands for the newest one.

    Raises:
        ReleaseError: there is no complete one, or it is of another kind; then the message says where it belongs.
    """
    is_versions = root.is_dir() and not (root / MANIFEST).is_file()
    with misplaced():
        return open_embedder(newest_version(root) if is_versions else root)
