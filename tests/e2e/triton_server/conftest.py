from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.processes import Server
from tests.support.processes import node as cpu_node
from tests.support.triton_server import KEY, Triton


@pytest.fixture(scope="session")
def releases(triton: Triton) -> Path:
    """What the session's Triton server and the CPU node serve from."""
    return triton.repository.parent / "releases"


@pytest.fixture(scope="session")
def cpu(releases: Path) -> Iterator[Server]:
    """A real CPU node that serves `tiny`, as the session's Triton server does."""
    options = {"threads": "1", "home": str(releases.parent)}
    settings = {"repository_key": KEY}
    server = cpu_node(releases / "tiny" / "1", releases.parent / "node.log", settings=settings, **options).start()
    yield server
    server.stop()
