import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.clients.environments import ENVIRONMENTS, ROOT, Environment, environment
from tests.e2e.clients.suites_found import Outcome, Suite, outcomes
from tests.support import processes
from tests.support.tiny_release import make_tiny_release
from tests.support.tool_template import give_tools

collect_ignore = ["suites"]  # they run in the clients' own environments
MODEL = "faq"  # as in the guide


@dataclass
class Gateways:
    """What the suites talk to, and what became of those that ran."""

    told: dict[str, str]
    folder: Path
    servers: dict[str, processes.Server]
    ran: dict[str, dict[str, Outcome]] = field(default_factory=dict)

    def outcome(self, suite: Suite, test: str) -> Outcome:
        """Run the suite if it did not run yet, and say how one of its tests went."""
        if suite.id not in self.ran:
            self.ran[suite.id] = self._run(suite)
        return self.ran[suite.id].get(test, Outcome("missing", f"{test} did not run"))

    def _run(self, suite: Suite) -> dict[str, Outcome]:
        place = environment(suite.environment).made()
        report = self.folder / f"{suite.id}.xml"
        done = subprocess.run(
            suite.command(place, report),
            env=self.variables(place),
            cwd=suite.cwd(place),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        return outcomes(report, done.stdout[-6000:] + done.stderr[-3000:])

    def variables(self, place: Environment) -> dict[str, str]:
        """A client sees nobody's settings. (`HF_HUB_OFFLINE` would forbid hub clients to speak to a gateway, too.)"""
        return {
            "PATH": f"{place.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "HF_HOME": str(self.folder / "hf"),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPYCACHEPREFIX": str(place.folder / "bytecode"),  # none among the suites
            "WEIR_CLIENT_SUITE": json.dumps(self.told),
        }


_MAKER = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install beside the tests that come first; whoever needs an environment waits for it at its lock."""
    is_wanted = any(Path(__file__).parent in item.path.parents for item in session.items)
    is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    if not is_wanted or not is_first or session.config.option.collectonly or all(one.is_made for one in ENVIRONMENTS):
        return
    session.config.stash[_MAKER] = subprocess.Popen(
        ["nice", "-n", "5", sys.executable, "-m", "tests.e2e.clients.environments"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    maker = session.config.stash.get(_MAKER, None)
    if maker is not None:
        maker.terminate()
        maker.wait(30)


@pytest.fixture(scope="session")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """Gateways over the real node (`keyed` wants keys) and over one that plays scripts (`full` takes one at a time)."""
    folder = tmp_path_factory.mktemp("clients")
    release = give_tools(make_tiny_release(folder / "releases", model=MODEL))
    with ExitStack() as running:
        told = {"model": MODEL, "release": str(release)}
        told["key"] = processes.new_key(folder / "keys", "unlimited")
        told["limited_key"] = processes.new_key(folder / "keys", "limited", "--requests-per-min", "2")
        servers: dict[str, processes.Server] = {}
        nodes = {
            "real": processes.node(release, folder / "node.log"),
            "scripted": processes.scripted_node(folder / "scripted.log"),
        }
        for node in nodes.values():
            running.callback(node.stop)
            node.start()
        one_at_a_time = {"max_in_flight": "1", "max_queue": "0"}
        for name, node, settings in (
            ("real", nodes["real"], {}),
            ("scripted", nodes["scripted"], {}),
            ("full", nodes["scripted"], one_at_a_time),
            ("keyed", nodes["real"], {"home": str(folder / "keys")}),
        ):
            gateway = processes.gateway(release, [node], folder / f"gateway-{name}.log", settings=settings)
            running.callback(gateway.stop)
            told[name] = gateway.start().url
            servers[name] = gateway
        yield Gateways(told, folder, servers)
