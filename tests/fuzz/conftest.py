import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.processes import Server
from tests.support.tiny_release import make_tiny_release
from tests.support.tool_template import give_tools

BODY_TIMEOUT_S = 2.0
SCHEMA_SHARE, MUTATED_SHARE = 0.5, 0.35  # of the cases; the rest is raw bytes


@dataclass
class Target:
    """A gateway under fire. `check` says whether it is still well."""

    server: Server
    seed: int
    cases: int

    def dice(self, what: str) -> random.Random:
        """Every family of cases has its own random numbers, and says how to throw them again."""
        print(f"\n{what}: repeat with --fuzz-seed {self.seed}")
        return random.Random(f"{self.seed} {what}")

    def check(self) -> None:
        answer = self.server.ask("POST", "/generate", {"inputs": "still there?"}, timeout_s=10)
        assert answer.status == 200, answer
        assert self.server.is_running()
        log = self.server.text()
        for words in ("Traceback", "request_failed", "stream_failed"):
            assert words not in log, log[log.index(words) - 200 :][:3000]


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Target]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    release = give_tools(make_tiny_release(folder / "releases", model="faq"))
    node = processes.scripted_node(folder / "node.log")
    settings = {"body_timeout_s": str(BODY_TIMEOUT_S), "log_level": "debug"}
    server = processes.gateway(release, [node], folder / "gateway.log", settings=settings)
    seed = pytestconfig.getoption("--fuzz-seed")
    try:
        node.start()
        server.start()
        yield Target(server, random.SystemRandom().getrandbits(32) if seed is None else seed, _cases(pytestconfig))
    finally:
        server.stop()
        node.stop()


def _cases(config: pytest.Config) -> int:
    return int(config.getoption("--fuzz-cases"))
