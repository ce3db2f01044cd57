"""A recipe that trains on a tiny checkpoint within a second or two."""

import json
from pathlib import Path
from typing import Any

from weir_training.recipe import Recipe


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def tiny_recipe(base: Path, rows: Path, **parts: Any) -> Recipe:
    tree: dict[str, Any] = {
        "name": "tiny",
        "model": {"base": str(base)},
        "data": {"train": [str(rows)]},
        "method": {"r": 8, "alpha": 16},
        "optim": {"lr": 0.02, "batch_size": 6, "epochs": 4, "threads": 1},
        "checkpoint": {"every": 3},
        "evaluate": {"max_new_tokens": 8},
    }
    for name, part in parts.items():
        tree[name] = {**tree.get(name, {}), **part} if isinstance(part, dict) else part
    return Recipe.model_validate(tree)
