"""A classifier's release: trained, measured, written whole or not at all, linked."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from weir.contracts.classifier import ClassifierFormat, ClassifierManifest, Hashed
from weir.contracts.errors import JobError, ReleaseError
from weir.contracts.manifest import Lineage
from weir.engine.classifier import check_golden
from weir.release.hashing import sha256_file
from weir.release.reader import newest_version, open_classifier
from weir_training.atomic import new_folder, write_json, write_text
from weir_training.classifier.card import classifier_card
from weir_training.classifier.fit import fit, new_network
from weir_training.classifier.measure import Figures
from weir_training.classifier.network import Network
from weir_training.classifier.recipe import ClassifierRecipe
from weir_training.classifier.scoring import Measured, measured
from weir_training.classifier.split import split_of
from weir_training.lineage import code_version, library_versions
from weir_training.linking import default_repository, link_release
from weir_training.progress import Progress, Tick, silent
from weir_training.versions import finished, next_version, one_publisher

FLAVOUR: Final = "cpu-fp32"
_GRAPH: Final = f"onnx/{FLAVOUR}/model.onnx"
_LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Trained:
    """`is_new` is False when the newest version already held exactly this."""

    root: Path
    link: Path
    manifest: ClassifierManifest
    measured: Measured
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Contents:
    recipe: ClassifierRecipe
    found: Measured
    graph: Path
    base_sha256: str


def train_and_publish(
    recipe: ClassifierRecipe, home: Path, *, repository: Path | None = None, progress: Progress = silent
) -> Trained:
    """Train, and write `<home>/releases/<name>/<next version>`. The same recipe and data make the same graph.

    Raises:
        UsageError: something is wrong with the data.
        CheckFailedError: the gate says no; nothing is published then.
        JobError: training failed, or the disk is full.
    """
    progress(Tick("data", 0, 1))
    split = split_of(recipe)
    network = new_network(recipe)
    started_from = _digest(network)
    fit(network, recipe, split.train, progress)
    progress(Tick("measure", 0, 1))
    model_dir = home / "releases" / recipe.name
    try:
        with one_publisher(model_dir), TemporaryDirectory(prefix="weir-") as scratch:
            graph = Path(scratch) / "model.onnx"
            found = measured(network, recipe, split, graph)
            root, is_new = _write_next(_Contents(recipe, found, graph, started_from), model_dir)
            release = open_classifier(root)
            check_golden(release)
            link = link_release(root, repository or default_repository(home))
    except OSError as error:
        raise JobError(f"publishing stopped: {error.strerror or error} ({error.filename or model_dir})") from error
    progress(Tick("measure", 1, 1, f"version {release.manifest.version}"))
    return Trained(root, link, release.manifest, found, is_new)


def _write_next(contents: _Contents, model_dir: Path) -> tuple[Path, bool]:
    """Write the next version, or find that the newest is the same; return its folder and whether it is new."""
    version = next_version(model_dir)
    draft = _manifest(contents, version)
    same = _the_same(draft, sha256_file(contents.graph), model_dir)
    if same is not None:
        return same, False
    root = model_dir / str(version)
    with new_folder(root) as folder:
        (folder / _GRAPH).parent.mkdir(parents=True)
        shutil.copyfile(contents.graph, folder / _GRAPH)
        _write_reports(draft, contents.found, folder)
        finished(draft, folder)
    return root, True


def _digest(network: Network) -> str:
    """Hash the weights that training begins with: they are this model's base."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    return digest.hexdigest()


def _manifest(contents: _Contents, version: int) -> ClassifierManifest:
    recipe, found = contents.recipe, contents.found
    features, window = recipe.features, recipe.window
    return ClassifierManifest(
        model=recipe.name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        files=(),
        lineage=_lineage(recipe, contents.base_sha256),
        labels=recipe.labels,
        features=Hashed(
            buckets=features.buckets, orders=features.orders, window_chars=window.chars, window_stride=window.stride
        ),
        threshold=found.threshold,
        golden=found.golden,
        formats=(ClassifierFormat(flavour=FLAVOUR, graph=_GRAPH, parity=found.parity),),
        serve_flavour=FLAVOUR,
        gate_passed=True,
        evaluation=found.evaluation(),
    )


def _lineage(recipe: ClassifierRecipe, base_sha256: str) -> Lineage:
    digest = recipe.digest()
    return Lineage(
        base="random weights",
        base_sha256=base_sha256,
        recipe_sha256=digest,
        data_sha256={f"{number}-{path.name}": sha256_file(path) for number, path in enumerate(recipe.files, 1)},
        run=f"{recipe.name}-{digest[:12]}",
        seed=recipe.seed,
        code_version=code_version(),
        libraries=library_versions(_LIBRARIES),
    )


def _the_same(draft: ClassifierManifest, graph_sha256: str, model_dir: Path) -> Path | None:
    """Return the newest version if it holds this; a damaged one is not worth being the same as."""
    try:
        newest = open_classifier(newest_version(model_dir))
    except ReleaseError:
        return None
    graph = newest.root / newest.format().graph
    is_same = _content(newest.manifest) == _content(draft) and sha256_file(graph) == graph_sha256
    return newest.root if is_same else None


def _content(manifest: ClassifierManifest) -> tuple[Any, ...]:
    made = manifest.lineage
    return (made.recipe_sha256, made.data_sha256, manifest.threshold, manifest.golden, manifest.evaluation)


def _write_reports(draft: ClassifierManifest, found: Measured, folder: Path) -> None:
    write_json(
        folder / "reports" / "eval.json",
        {
            "schema_version": 1,
            "validation": _as_json(found.validation),
            "heldout": _as_json(found.heldout),
            "heldout_rules": {what: _as_json(table) for what, table in found.rules.items()},
        },
    )
    write_text(folder / "reports" / "MODEL_CARD.md", classifier_card(draft, found))


def _as_json(table: Mapping[str, Figures]) -> dict[str, Any]:
    return {group: figures.as_json() for group, figures in table.items()}
