from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Server
from tests.support.tiny_release import make_tiny_release


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_release(tmp_path_factory.mktemp("releases"), model="faq")


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """Processes that a test started; ended last in, first out."""
    running: list[Server] = []
    yield running
    for server in reversed(running):
        server.stop()


@pytest.fixture
def kept() -> Path:
    """Where figures go that a person wants to look at."""
    return ROOT / ".weir" / "soak"
