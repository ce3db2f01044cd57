import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.up import Up


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The demo as a newcomer gets it: trained, proven and served by the real processes. Made once."""
    running = Up(tmp_path_factory.mktemp("up")).start()
    try:
        yield running.wait_ready(timeout_s=450)
    finally:
        running.stop()


@pytest.fixture
def release_copy(up: Up, tmp_path: Path) -> Path:
    """A release that a test may damage."""
    target = tmp_path / "releases" / up.model / up.version
    shutil.copytree(up.release(), target)
    return target
