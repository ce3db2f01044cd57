"""What the chart renders is what the programs take: their own classes read the settings, and the pods start."""

import hashlib
import io
import json
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry
from tests.support.chart import CASES, CHART, NAMESPACE, manifests_of, render
from tests.support.manifests import Manifests, PodKind, component
from tests.support.pod_process import PodProcess
from tests.support.tiny_release import make_tiny_release

from weir.cpu_node.settings import load_node_settings
from weir.gateway.settings import load_settings
from weir.guard.policy import load_policy
from weir.telemetry.metrics import GatewayMetrics
from weir.triton_node.settings import read_settings
from weir_training import pipeline
from weir_training.triton_entry import config_text

FULL, MIG = (CHART / "ci" / f"{name}.yaml" for name in ("full", "gpu-mig"))
case = pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)


@case
def test_the_programs_own_classes_read_the_rendered_settings(case: Path, tmp_path: Path) -> None:
    m = manifests_of(case)
    for pod in m.pods:
        if not pod.serves or pod.spec["containers"][0]["command"] == ["tritonserver"]:
            continue
        file = tmp_path / "settings.yaml"
        file.write_text(yaml.safe_dump(m.settings(pod)))
        if component(pod) == "gateway":
            gateway = load_settings({}, file)
            assert gateway.admin_port == pod.ports["admin"]
            assert gateway.port == pod.ports["http"]
            assert len(gateway.nodes) == len([p for p in m.pods if component(p) == "node"]), (
                "the examples' pools all generate"
            )
        else:
            node = load_node_settings({}, file)
            assert node.port == pod.ports["http"]


@case
def test_triton_gets_the_entry_that_publish_writes_and_parameters_it_knows(case: Path) -> None:
    m = manifests_of(case)
    for pod in (pod for pod in m.pods if pod.spec["containers"][0]["command"] == ["tritonserver"]):
        (model,) = [word.partition("=")[2] for word in pod.spec["containers"][0]["args"] if "--load-model=" in word]
        text = m.file(pod, f"/models/{model}/config.pbtxt")
        entry, *parameters = text.split("parameters {")
        published = [line for line in config_text(model).splitlines() if not line.startswith("#")]
        assert _squeezed(entry) == _squeezed("\n".join(published))
        found = [re.search(r'key: "(\w+)" value \{ string_value: "([^"]*)" \}', line) for line in parameters]
        read_settings({match[1]: {"string_value": match[2]} for match in found if match is not None})


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("[\n", "[").replace("\n]", " ]")).strip()


def test_a_parameter_of_triton_reaches_its_entry() -> None:
    m = manifests_of(FULL)
    gpu = next(pod for pod in m.pods if pod.name == "Deployment/weir-pool-gpu")
    assert 'parameters { key: "max_running" value { string_value: "64" } }' in m.file(gpu, "/models/faq/config.pbtxt")


def test_the_policy_in_the_values_is_one_that_the_guard_takes(tmp_path: Path) -> None:
    m = manifests_of(FULL)
    gateway = next(pod for pod in m.pods if pod.name == "Deployment/weir-gateway")
    policy = tmp_path / "policy.yaml"
    policy.write_text(m.file(gateway, m.settings(gateway)["guard"]))
    assert load_policy(policy).id == "full"


@case
def test_scalers_and_analyses_ask_for_metrics_that_the_gateway_has(case: Path) -> None:
    """Labels too: those that Prometheus adds, and those of the metric itself."""
    known = _gateway_metrics()
    for text in _queries(manifests_of(case)):
        found = re.findall(r"(weir_(?:gateway|node)_\w+)(?:\{([^}]*)\})?", text)
        assert found or "weir_triton_" in text, text
        for name, matchers in found:
            assert name in known, name
            labels = set(re.findall(r"(\w+)=~?\"", matchers))
            assert labels <= {"namespace", "service", "pod", "job"} | known.get(name, set()), name


def _gateway_metrics() -> dict[str, set[str]]:
    metrics = GatewayMetrics(CollectorRegistry())
    found: dict[str, set[str]] = {}
    for family in vars(metrics).values():
        metric = getattr(family, "metric", getattr(family, "_metric", family))
        if hasattr(metric, "_labelnames"):
            for suffix in ("", "_total"):
                found[f"{metric._name}{suffix}"] = set(metric._labelnames)
    return found


def _queries(m: Manifests) -> Iterator[str]:
    for scaled in m.of("ScaledObject"):
        yield from (trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])
    for hpa in m.of("HorizontalPodAutoscaler"):
        for metric in hpa["spec"]["metrics"]:
            labels = metric["external"]["metric"]["selector"]["matchLabels"]
            written = ",".join(f'{key}="{value}"' for key, value in labels.items())
            yield f"{metric['external']['metric']['name']}{{{written}}}"
    for analysis in m.of("AnalysisTemplate"):
        yield from (metric["provider"]["prometheus"]["query"] for metric in analysis["spec"]["metrics"])


def test_training_is_started_with_a_recipe_and_options_that_exist() -> None:
    (pod,) = [pod for pod in manifests_of(FULL).pods if pod.of["kind"] == "CronJob"]
    command = typer.main.get_command(pipeline.app)
    given = command.make_context("pipeline", list(pod.spec["containers"][0]["args"])).params
    assert given["recipe"] == "faq"
    assert given["home"] == Path("/var/lib/weir")
    assert [str(path) for path in given["data"]] == ["/data/examples.jsonl"]


@pytest.fixture
def running() -> Iterator[list[PodProcess]]:
    pods: list[PodProcess] = []
    yield pods
    for pod in reversed(pods):
        pod.stop()


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A release behind a web server: its address and the sha256 of the tar file."""
    release = make_tiny_release(tmp_path / "made", model="faq", precisions=("int8",))
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        archive.add(release, arcname="faq/1")
    served = tmp_path / "served"
    served.mkdir()
    (served / "faq-1.tar").write_bytes(body.getvalue())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/faq-1.tar", hashlib.sha256(body.getvalue()).hexdigest()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_rendered_pods_fetch_start_answer_their_probes_and_leave(
    packed: tuple[str, str], tmp_path: Path, running: list[PodProcess]
) -> None:
    url, digest = packed
    source = json.dumps({"fetch": {"url": url, "sha256": digest}})
    m = Manifests(
        render(
            CHART / "ci" / "minimal.yaml",
            sets=(f'models={{"faq": {{"version": 1, "source": {source}}}}}', "drain.endpointSeconds=1"),
        ).things,
        NAMESPACE,
    )
    node = _started_node(m, tmp_path, running)
    gateway = _started_gateway(m, node, tmp_path, running)

    for pod in (node, gateway):
        pod.until(lambda pod=pod: pod.probe("readinessProbe") == 200)
        assert pod.probe("livenessProbe") == 200
    assert gateway.get("admin", "/metrics") == 200
    assert node.get("http", "/metrics") == 200
    _helm_tests_pass(m, gateway)

    gateway.terminate()
    gateway.until(lambda: gateway.probe("readinessProbe") == 503)
    assert gateway.probe("livenessProbe") == 200, "a pod that leaves is not killed for it"
    assert gateway.process is not None
    assert gateway.process.wait(60) == 0
    node.terminate()
    assert node.process is not None
    assert node.process.wait(60) == 0


def _pod(m: Manifests, name: str) -> PodKind:
    return next(pod for pod in m.pods if pod.name == f"Deployment/{name}")


def _started_node(m: Manifests, folder: Path, running: list[PodProcess]) -> PodProcess:
    pod = _pod(m, "weir-pool-cpu")
    home = folder / "node"
    process = PodProcess(
        m, pod, home, {"/models/faq/1": home / "fetch/faq/1"}, {"WEIR_NODE_HOST": "127.0.0.1", "WEIR_NODE_THREADS": "1"}
    )
    process.overrides = {**process.overrides, "WEIR_NODE_PORT": str(process.ports["http"])}
    (init,) = pod.spec["initContainers"]
    done = process.run([*init["command"], *init["args"]])
    assert done.returncode == 0, done.stderr
    running.append(process.start())
    return process.wait_started()


def _started_gateway(m: Manifests, node: PodProcess, folder: Path, running: list[PodProcess]) -> PodProcess:
    pod = _pod(m, "weir-gateway")
    nodes = m.settings(pod)["nodes"]
    assert [(one["name"], one["url"][:9]) for one in nodes] == [("cpu", "dns+http:")]
    here = [{**nodes[0], "url": f"http://127.0.0.1:{node.ports['http']}"}]
    process = PodProcess(m, pod, folder / "gateway", {"/models/faq/1": node.folder / "fetch/faq/1"})
    process.overrides = {
        "WEIR_GATEWAY_HOST": "127.0.0.1",
        "WEIR_GATEWAY_PORT": str(process.ports["http"]),
        "WEIR_GATEWAY_EDGE__ADMIN_HOST": "127.0.0.1",
        "WEIR_GATEWAY_EDGE__ADMIN_PORT": str(process.ports["admin"]),
        "WEIR_GATEWAY_NODES": json.dumps(here),
    }
    running.append(process.start())
    return process.wait_started()


def _helm_tests_pass(m: Manifests, gateway: PodProcess) -> None:
    """What `helm test` runs, with the gateway's address of this machine."""
    service = f"http://weir-gateway.{NAMESPACE}.svc.cluster.local:80"
    pods = [pod for pod in m.pods if component(pod) == "test"]
    assert len(pods) == 2
    for pod in pods:
        container = pod.spec["containers"][0]
        words = [*container["command"], *container["args"]]
        assert any(service in word for word in words)
        here = [word.replace(service, f"http://127.0.0.1:{gateway.ports['http']}") for word in words]
        began = time.monotonic()
        done = gateway.run(here)
        assert done.returncode == 0, f"{pod.name} after {time.monotonic() - began:.1f} s: {done.stdout}{done.stderr}"
