"""What several modules share because it takes seconds to make."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and a verified run; read-only."""
    from tests.support.exported import prepared  # here: most tests of this folder need no torch
    from tests.support.tiny_checkpoint import make_tiny_checkpoint

    from weir_training.export import export_flavours
    from weir_training.verify import verified

    folder = tmp_path_factory.mktemp("export")
    recipe, run = prepared(folder, make_tiny_checkpoint(folder / "base"))
    export_flavours(recipe, run.merged, run)
    verified(recipe, run)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    from tests.support.exported import make_recipe

    shutil.copytree(finished, tmp_path / "work")
    make_recipe(tmp_path / "work", tmp_path / "work" / "base")
    return tmp_path / "work"
