"""A real Triton takes the command, the flags, the model's entry and the probes that the chart renders."""

import json
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.chart import NAMESPACE, render
from tests.support.manifests import Manifests
from tests.support.pod_process import PodProcess
from tests.support.tiny_release import make_tiny_release
from tests.support.triton_server import made

from weir.backends.grpc_node import GrpcNode

pytestmark = pytest.mark.e2e

SETS = (
    'models={"tiny": {"version": 1, "source": {"pvc": {"claimName": "releases"}}}}',
    'pools={"gpu": {"kind": "gpu-triton", "settings": {"threads": 1, "max_running": 2}}}',
    "gateway.access.allowAnonymous=true",
)


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[PodProcess]:
    m = Manifests(render(sets=SETS).things, NAMESPACE)
    pod = next(pod for pod in m.pods if pod.name == "Deployment/weir-pool-gpu")
    environment = made().folder
    site = environment / "lib" / "python3.11" / "site-packages"
    bundled = site / "pytriton" / "tritonserver"
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{site / 'nvidia_pytriton.libs'}"
    release = make_tiny_release(tmp_path / "releases", precisions=("fp32",))
    process = PodProcess(
        m,
        pod,
        tmp_path / "pod",
        {"/models/tiny/1": release},
        {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries, "PYTHONPATH": ""},
        {"tritonserver": (str(bundled / "bin" / "tritonserver"),)},
    )
    # Where this wheel keeps its parts, and ports of this machine; all else is as rendered.
    process.more = (
        f"--backend-directory={environment / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name=weir_chart_{os.getpid()}_",
        f"--cache-directory={bundled / 'caches'}",
        "--allow-gpu-metrics=false",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc")),
        *(f"--{kind}-port={number}" for kind, number in process.ports.items()),
    )
    yield process.start()
    process.stop()


async def test_it_starts_answers_its_probes_serves_and_leaves(triton: PodProcess) -> None:
    triton.wait_started(180)
    assert triton.probe("livenessProbe") == 200
    assert triton.probe("readinessProbe") == 200
    assert triton.get("metrics", "/metrics") == 200
    node = GrpcNode("gpu", f"127.0.0.1:{triton.ports['grpc']}", "tiny")
    assert await node.ready(), "the gateway's canary"
    await node.aclose()

    triton.terminate()
    assert triton.process is not None
    assert triton.process.wait(60) == 0, triton.log[-2000:]
    assert json.dumps(triton.container["args"]).count("--exit-timeout-secs=120") == 1
