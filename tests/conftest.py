"""What every test starts from: nobody's settings, and the logging it found."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# A machine that others use as well is slow now and then: that is no finding.
settings.register_profile("weir", deadline=None)
settings.load_profile("weir")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("soak", "how long the tests of `make soak` go on")
    group.addoption("--soak-minutes", type=float, default=1.0, help="load while nodes are killed")
    group.addoption("--soak-kill-every-s", type=float, default=10.0, help="seconds between two kills of a node")
    group.addoption("--soak-restarts", type=int, default=6, help="rolling restarts of gateways")
    group.addoption("--fuzz-cases", type=int, default=400, help="schema-driven, mutated and raw-socket requests")
    group.addoption("--fuzz-seed", type=int, default=None, help="repeats a run; each run prints its own")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.support.sharing_out import SharingOut  # here: not every environment with tests has xdist

    config.option.loadscopereorder = False  # the order is ours
    manager = config.pluginmanager.getplugin("dsession").nodemanager
    manager.EXIT_TIMEOUT = 60  # seconds in which workers may end their servers; xdist's ten are few after Ctrl-C
    return SharingOut(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        from tests.support.sharing_out import turn

        items.sort(key=lambda item: turn(item.nodeid))


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WEIR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Triton server with Weir's model `tiny` (two requests run, four wait), and `played`, which does as told."""
    from tests.support.tiny_release import make_tiny_release  # here: suites in other environments have no Weir
    from tests.support.triton_server import KEY, Triton, add_played, set_parameters
    from weir_training.linking import link_release

    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "repository"
    link_release(make_tiny_release(folder / "releases", precisions=("packed8", "fp32")), repository)
    set_parameters(repository / "tiny", threads=1, max_running=2, max_waiting=4)
    add_played(repository, folder / "script.json")
    server = Triton(repository, ("tiny", "played"), folder / "triton.log", key=KEY).start()
    yield server
    server.stop()
