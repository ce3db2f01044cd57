"""What several modules share because it takes seconds to make."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:  # each costs time, and most tests need few of them
    import openai
    from tests.support.gateway import Gateway, Stage
    from tests.support.served_node import Node


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a gateway serves: prompts alone, no graph."""
    from tests.support.prompt_release import make_prompt_release

    return make_prompt_release(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="module")
def stage() -> "Stage":
    """What answers in a model's place: each test says how."""
    from tests.support.gateway import Stage

    return Stage()


@pytest.fixture(scope="module")
def weir(stage: "Stage", release: Path) -> "Iterator[Gateway]":
    """A gateway over that stage; modules with settings of their own have their own."""
    from tests.support.gateway import gateway

    with gateway(release, stage.backend) as running:
        yield running


@pytest.fixture
def client(weir: "Gateway") -> "Iterator[openai.OpenAI]":
    import openai

    with openai.OpenAI(base_url=f"{weir.url}/v1", api_key="none", max_retries=0, timeout=10) as running:
        yield running


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's home, with versions 1 and 2 of a tiny model; read-only."""
    from tests.support.tiny_release import make_tiny_release

    home = tmp_path_factory.mktemp("home")
    make_tiny_release(home / "releases", version=1)
    make_tiny_release(home / "releases", version=2, precisions=("int8",))
    return home


@pytest_asyncio.fixture
async def node(releases: Path) -> "AsyncIterator[Node]":
    """A CPU node that serves version 1."""
    from tests.support.served_node import serve

    async with serve(releases) as started:
        yield started


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
