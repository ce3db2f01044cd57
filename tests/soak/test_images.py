"""The images, built without a Docker engine and run under the chart's security context."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import Container, lacking
from tests.support.ports import free_port
from tests.support.processes import eventually
from tests.support.tiny_release import make_tiny_release

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both images: layouts, bundles, bills of materials."""
    if os.geteuid() != 0 or lacking():
        pytest.skip(f"needs root, and: apt-get install --no-install-recommends {' '.join(lacking())}")
    into = tmp_path_factory.mktemp("images")
    command = [sys.executable, "tools/build_images.py", "gateway", "cpu-node", "--into", str(into), "--without-engine"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=3000, check=False)
    assert done.returncode == 0
    print(done.stdout)
    return into


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tiny_release(tmp_path_factory.mktemp("releases"), model="faq")
    for path in (root.parents[2], *root.parents[:2]):
        path.chmod(0o755)  # pytest's folders are for their owner alone
    return root


@pytest.fixture(scope="module")
def served(built: Path, release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    state = tmp_path_factory.mktemp("containers")
    ports = {"node": free_port(), "gateway": free_port(), "admin": free_port()}
    mounts = {"/releases/faq": release.parent}
    node_command = ["weir", "node", "/releases/faq", "--port", str(ports["node"])]
    node = Container("weir-node", built / "cpu-node-bundle", node_command, state, mounts)
    command = ["weir", "serve", "--release", "/releases/faq", "--node", f"cpu-0=http://127.0.0.1:{ports['node']}"]
    command += ["--port", str(ports["gateway"]), "--admin-port", str(ports["admin"])]
    gateway = Container("weir-gateway", built / "gateway-bundle", command, state, mounts)
    try:
        node.start()
        _wait(node, ports["node"], "/v2/health/ready")
        gateway.start()
        _wait(gateway, ports["gateway"], "/readyz")
        yield {**ports, "containers": {"node": node, "gateway": gateway}}
    finally:
        for container in (gateway, node):
            if container.process is not None:
                container.stop()


def _wait(container: Container, port: int, path: str) -> None:
    def is_ready() -> bool:
        assert container.process is not None
        assert container.process.poll() is None, container.text()
        try:
            return _ask(port, "GET", path)[0] == 200
        except OSError:
            return False

    eventually(is_ready, within_s=180, what=f"{container.name} is ready")


def _ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        raw = None if body is None else json.dumps(body)
        connection.request(method, path, raw, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def test_the_gateways_image_answers_with_what_the_nodes_image_says(served: dict[str, Any]) -> None:
    body = {"inputs": "How do I return an order?", "parameters": {"max_new_tokens": 8}}
    status, answer = _ask(served["gateway"], "POST", "/generate", body)
    assert status == 200, answer
    assert json.loads(answer)["generated_text"]
    assert b"weir_gateway_requests_total" in _ask(served["admin"], "GET", "/metrics")[1]


@pytest.mark.parametrize("name", ["node", "gateway"])
def test_a_container_may_do_what_the_chart_lets_it_and_no_more(served: dict[str, Any], name: str) -> None:
    container = served["containers"][name]
    status = container.inside("cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert fields["NoNewPrivs"] == "1"
    assert {int(fields[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {0}
    assert container.inside("touch", "/opt/weir/x").returncode != 0
    assert container.inside("touch", "/var/lib/weir/x", "/tmp/x").returncode == 0


def test_the_doctor_of_the_image_finds_both_well(served: dict[str, Any]) -> None:
    node = f"http://127.0.0.1:{served['node']}"
    said = served["containers"]["gateway"].inside(
        "weir", "doctor", "--node", node, "--release", "/releases/faq", "--json"
    )
    found = {finding["check"]: finding for finding in json.loads(said.stdout)["findings"]}
    for check in ("packages of gateway", "model at node-0", "clock of node-0", "policy", "database"):
        assert found[check]["level"] == "ok", found[check]


def test_the_doctor_does_without_a_gateway(served: dict[str, Any]) -> None:
    said = served["containers"]["node"].inside("weir", "doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(said.stdout)["findings"]}
    assert said.returncode == 0, said.stdout
    assert found["packages of node"]["level"] == "ok"
    assert "not installed here" in found["gateway"]["says"]


def test_the_nodes_image_runs_weirs_own_operators(served: dict[str, Any]) -> None:
    program = "from weir.engine.kernels.library import instruction_set; print(instruction_set())"
    said = served["containers"]["node"].inside("python", "-c", program)
    assert said.stdout.strip() in {"avx512", "avx2", "portable"}, said.stderr


@pytest.mark.parametrize("image", ["gateway", "cpu-node"])
def test_nothing_is_in_an_image_that_it_does_not_need(built: Path, image: str) -> None:
    bill = json.loads((built / f"{image}.cdx.json").read_text(encoding="utf-8"))
    held = {component["purl"].partition("@")[0] for component in bill["components"]}
    assert "pkg:pypi/weir" in held
    assert not held & {f"pkg:pypi/{name}" for name in ("torch", "transformers", "pip", "setuptools", "hatchling")}
    assert not held & {"pkg:deb/debian/gcc", "pkg:deb/debian/libc6-dev"}
    assert ("pkg:pypi/onnxruntime" in held) == (image == "cpu-node")
    wanted = (ROOT / "deploy" / "constraints" / f"{image}.txt").read_text(encoding="utf-8").splitlines()[1:]
    versions = {component["name"]: component["version"] for component in bill["components"]}
    assert {line for line in wanted if versions.get(line.split("==")[0]) != line.split("==")[1]} == set()


def test_both_drain_and_leave_when_they_are_told_to(served: dict[str, Any]) -> None:
    assert served["containers"]["gateway"].stop() == 0
    assert served["containers"]["node"].stop() == 0
