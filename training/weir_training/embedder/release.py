"""An embedder's release: exported, compared with its checkpoint, written whole or not at all, linked."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from weir.contracts.embedder import EmbedderFormat, EmbedderManifest, GoldenVector, Pooling, VectorParity
from weir.contracts.errors import CheckFailedError, JobError, ReleaseError
from weir.contracts.manifest import Lineage
from weir.engine.embedder import VectorGraph, check_golden, tokenizer_of
from weir.release.hashing import sha256_file, sha256_tree
from weir.release.reader import TOKENIZER, newest_version, open_embedder
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.atomic import new_folder, write_text
from weir_training.embedder.graph import load_model, reference, write_graph
from weir_training.embedder.proof import TEXTS, compared, probe_rows
from weir_training.embedder.source import Source, read_source
from weir_training.lineage import code_version, library_versions
from weir_training.linking import default_repository, link_release
from weir_training.progress import Progress, Tick, silent
from weir_training.versions import finished, next_version, one_publisher

FLAVOUR: Final = "cpu-fp32"
_GRAPH: Final = f"onnx/{FLAVOUR}/model.onnx"
_LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "tokenizers", "torch", "transformers")
_GOLDEN: Final = 3


@dataclass(frozen=True, slots=True)
class Exported:
    """`is_new` is False when the newest version already held exactly this."""

    root: Path
    link: Path
    manifest: EmbedderManifest
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Made:
    source: Source
    graph: Path  # in a folder of its own, with its external data if it has any
    parity: VectorParity
    golden: tuple[GoldenVector, ...]


def export_and_publish(
    checkpoint: Path,
    name: str,
    home: Path,
    *,
    pooling: Pooling | None = None,
    repository: Path | None = None,
    progress: Progress = silent,
) -> Exported:
    """Export the checkpoint and write `<home>/releases/<name>/<next version>`.

    Raises:
        UsageError: it is no checkpoint of a kind that is exported.
        CheckFailedError: the graph's vectors are not the checkpoint's; nothing is published then.
        JobError: the export failed, or the disk is full.
    """
    progress(Tick("export", 0, 2))
    source = read_source(checkpoint, pooling)
    model_dir = home / "releases" / name
    try:
        with one_publisher(model_dir), TemporaryDirectory(prefix="weir-") as scratch:
            made = _made(source, Path(scratch) / "model.onnx", progress)
            root, is_new = _write_next(made, name, model_dir)
            release = open_embedder(root)
            check_golden(release, tokenizer_of(release))
            link = link_release(root, repository or default_repository(home))
    except OSError as error:
        raise JobError(f"publishing stopped: {error.strerror or error} ({error.filename or model_dir})") from error
    progress(Tick("export", 2, 2, f"version {release.manifest.version}"))
    return Exported(root, link, release.manifest, is_new)


def _made(source: Source, path: Path, progress: Progress) -> _Made:
    model = load_model(source)
    write_graph(model, source, path)
    progress(Tick("export", 1, 2))
    tokenizer = ReleaseTokenizer(source.folder / "tokenizer.json")
    ids = [tokenizer.encode_whole(text) for text in TEXTS]
    rows = probe_rows(ids, context_tokens=source.context_tokens, vocab_size=source.vocab_size)
    wanted = reference(model, source, rows)
    graph = VectorGraph(path, dimensions=len(wanted[0]), pad_id=source.pad_id)
    parity = compared(graph, rows, wanted, sum(file.stat().st_size for file in path.parent.iterdir()))
    if not parity.passed:
        raise CheckFailedError(f"the graph's vectors are not the checkpoint's: {'; '.join(parity.reasons)}")
    kept = [(text, row) for text, row in zip(TEXTS, ids, strict=True) if 0 < len(row) <= source.context_tokens]
    golden = tuple(
        GoldenVector(text=text, ids=tuple(row), vector=tuple(graph([row])[0].tolist())) for text, row in kept[:_GOLDEN]
    )
    if not golden:
        raise CheckFailedError("the tokenizer makes nothing that fits into the context of any text")
    return _Made(source, path, parity, golden)


def _write_next(made: _Made, name: str, model_dir: Path) -> tuple[Path, bool]:
    """Write the next version, or find that the newest is the same; return its folder and whether it is new."""
    draft = _manifest(made, name, next_version(model_dir))
    same = _the_same(draft, sha256_file(made.graph), model_dir)
    if same is not None:
        return same, False
    root = model_dir / str(draft.version)
    with new_folder(root) as folder:
        shutil.copytree(made.graph.parent, (folder / _GRAPH).parent)
        (folder / TOKENIZER).parent.mkdir()
        shutil.copyfile(made.source.folder / "tokenizer.json", folder / TOKENIZER)
        write_text(folder / "reports" / "MODEL_CARD.md", _card(draft))
        finished(draft, folder)
    return root, True


def _manifest(made: _Made, name: str, version: int) -> EmbedderManifest:
    source = made.source
    return EmbedderManifest(
        model=name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        files=(),
        lineage=_lineage(source, name),
        pooling=source.pooling,
        dimensions=len(made.golden[0].vector),
        context_tokens=source.context_tokens,
        vocab_size=source.vocab_size,
        pad_id=source.pad_id,
        tokenizer_sha256=sha256_file(source.folder / "tokenizer.json"),
        golden=made.golden,
        formats=(EmbedderFormat(flavour=FLAVOUR, graph=_GRAPH, parity=made.parity),),
        serve_flavour=FLAVOUR,
        gate_passed=True,
        evaluation={"min_cosine": made.parity.min_cosine},
    )


def _lineage(source: Source, name: str) -> Lineage:
    """Nothing is trained: the recipe is how the checkpoint is read."""
    recipe = json.dumps({"pooling": source.pooling, "context": source.context_tokens, "flavour": FLAVOUR})
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    return Lineage(
        base=source.folder.name,
        base_sha256=sha256_tree(source.folder),
        recipe_sha256=digest,
        data_sha256={},
        run=f"{name}-{digest[:12]}",
        seed=0,
        code_version=code_version(),
        libraries=library_versions(_LIBRARIES),
    )


def _the_same(draft: EmbedderManifest, graph_sha256: str, model_dir: Path) -> Path | None:
    """Return the newest version if it holds this; a damaged one is not worth being the same as."""
    try:
        newest = open_embedder(newest_version(model_dir))
    except ReleaseError:
        return None
    graph = newest.root / newest.format().graph
    is_same = _content(newest.manifest) == _content(draft) and sha256_file(graph) == graph_sha256
    return newest.root if is_same else None


def _content(manifest: EmbedderManifest) -> tuple[Any, ...]:
    made = manifest.lineage
    return (made.base_sha256, made.recipe_sha256, manifest.tokenizer_sha256, manifest.golden, manifest.pad_id)


def _card(manifest: EmbedderManifest) -> str:
    parity, made = manifest.formats[0].parity, manifest.lineage
    sections = (
        "---\npipeline_tag: feature-extraction\nlibrary_name: onnx\ntags: [weir, onnx]\n---",
        f"# {manifest.model}",
        f"Makes a vector of {manifest.dimensions} numbers and of length 1 of a text of at most "
        f"{manifest.context_tokens} tokens. Exported by Weir from `{made.base}`, hidden states pooled by "
        f"{manifest.pooling}, and compared with the checkpoint on {parity.rows} rows, alone and padded in batches: "
        f"cosine {parity.min_cosine:.6f} at least, largest difference {parity.max_abs:.2g}.",
        f"## Lineage\n\nBase `{made.base_sha256[:12]}`, Weir {made.code_version}.",
        "## Limits\n\nWhat the checkpoint was trained for is its own card's to say, and which words it wants before a "
        "query or a passage: they are part of the text that a caller sends.",
    )
    return "\n\n".join(sections) + "\n"
