"""A run's directory: `<home>/runs/<name>-<12 hex of recipe and data>/`.

The same recipe over the same data is the same run, so the same command after an interruption goes on
in the same directory. Layout:

    recipe.resolved.yaml   manifest.json (stage records, lineage)   events.jsonl (loss, rate)   report.html
    data/  checkpoints/  adapter/  merged/  onnx/<flavour>/  eval/*.json  parity.json
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weir.release.hashing import sha256_file, sha256_text, sha256_tree
from weir_training.atomic import write_json, write_text
from weir_training.guard_filter import policy_of
from weir_training.recipe import Recipe, dump_recipe
from weir_training.resolve import local_base

_MANIFEST = "manifest.json"
_BASE_FILES = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model"})


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths and stage records of one run."""

    root: Path

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def merged(self) -> Path:
        return self.root / "merged"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    def onnx(self, flavour: str) -> Path:
        return self.root / "onnx" / flavour

    def manifest(self) -> dict[str, Any]:
        path = self.root / _MANIFEST
        if not path.is_file():
            return {"schema_version": 1, "stages": {}}
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return loaded

    def metrics(self, stage: str) -> dict[str, Any] | None:
        """What the stage measured, or None if it never finished."""
        record = self.manifest()["stages"].get(stage)
        return None if record is None else dict(record["metrics"])

    def is_done(self, stage: str, key: str) -> bool:
        """Whether `stage` finished from inputs of this `key`, and its outputs are still what it wrote."""
        record = self.manifest()["stages"].get(stage)
        if record is None or record["key"] != key:
            return False
        outputs: dict[str, str] = record["outputs"]
        return all(_digest(self.root / name) == digest for name, digest in outputs.items())

    def record(self, stage: str, key: str, *, outputs: list[Path], seconds: float, metrics: dict[str, Any]) -> None:
        """Write down that a stage finished. Call it last: everything in `outputs` must be on disk."""
        manifest = self.manifest()
        manifest["stages"][stage] = {
            "key": key,
            "outputs": {p.relative_to(self.root).as_posix(): _digest(p) for p in outputs},
            "seconds": round(seconds, 3),
            "metrics": metrics,
        }
        write_json(self.root / _MANIFEST, manifest)


def open_run(home: Path, recipe: Recipe) -> RunDirectory:
    """Return the run of this recipe and its data files, made when it is new.

    The files named in `recipe.data` must exist.
    """
    root = home / "runs" / f"{recipe.name}-{run_key(recipe)[:12]}"
    root.mkdir(parents=True, exist_ok=True)
    resolved = root / "recipe.resolved.yaml"
    if not resolved.is_file():
        write_text(resolved, dump_recipe(recipe))
    return RunDirectory(root)


def run_key(recipe: Recipe) -> str:
    """Hash of what decides the adapter: recipe (without the export part and paths) and the bytes of the data."""
    data = "".join(sha256_file(Path(p)) for p in recipe.data.train)
    limits = f"{recipe.data.max_length}{recipe.data.truncation}"
    if (policy := policy_of(recipe.data)) is not None:
        limits += f"{policy.sha256}{recipe.data.guarded}"
    base = local_base(recipe.model)
    source = f"{recipe.model.base}@{recipe.model.revision}" if base is None else _sha256_base(base)
    template = recipe.model.chat_template
    template = template if template == "keep" else sha256_file(Path(template))
    parts = recipe.digest("schema_version", "name", "seed", "method", "optim", "checkpoint")
    return sha256_text("\n".join((parts, data, limits, source, template)))


def _sha256_base(folder: Path) -> str:
    """Hash what decides a base's answers; its papers (model card, manifest) do not."""
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix in _BASE_FILES and p.name != _MANIFEST)
    return sha256_text("\n".join(f"{p.name} {sha256_file(p)}" for p in files))


def _digest(path: Path) -> str | None:
    if path.is_dir():
        return sha256_tree(path)
    return sha256_file(path) if path.is_file() else None
