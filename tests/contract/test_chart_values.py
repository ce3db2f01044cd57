"""The chart's values: what is refused, and in which words; what umbrella charts may do; what is generated."""

import shutil
from pathlib import Path

import pytest
import yaml
from tests.support.chart import CHART, NAMESPACE, Done, render, run_helm
from tests.support.cluster_tools import ROOT
from tests.support.invariants import problems_in
from tests.support.manifests import Manifests
from tools import chart as generator

from weir import __version__

MINIMAL, FULL = (CHART / "ci" / f"{name}.yaml" for name in ("minimal", "full"))

# A value that somebody may write, and a word of the answer that tells what is wrong.
REFUSED = {
    "gatway.replicas=1": "gatway",
    "gateway.replica=1": "replica",
    "gateway.replicas=two": "replicas",
    "gateway.replicas=0": "replicas",
    "gateway.image.tag=latest": "tag",
    "gateway.image.digest=sha256:abc": "digest",
    "gateway.image.repository=": "repository",
    "gateway.settings.max_quue=5": "max_quue",
    "gateway.settings.max_queue=-1": "max_queue",
    "gateway.settings.host=127.0.0.1": "host",
    "gateway.settings.drain_timeout_s=5": "drain_timeout_s",
    "gateway.settings.access.database=postgresql://x": "database",
    "gateway.settings.second_tier.action=shout": "action",
    "gateway.access.allowAnonymous=maybe": "allowAnonymous",
    "gateway.access.database=postgresql://user:password@host/db": "database",
    "gateway.autoscaling.mode=both": "mode",
    "gateway.service.type=ExternalName": "type",
    "gateway.service.port=99999": "port",
    'gateway.extraEnv=[{"value": "x"}]': "name",
    "gateway.resources.request.cpu=1": "request",
    'gateway.probes.liveness={"path": "/readyz"}': "path",
    "models.faq.version=0": "version",
    "models.faq.version=1.5": "version",
    'models.Faq={"version": 1, "source": {"pvc": {"claimName": "c"}}}': "Faq",
    'models.faq.source={"pvc": {"claimName": "c"}, "image": {"reference": "r"}}': "source",
    "models.faq.source={}": "source",
    'models.faq.source={"fetch": {"url": "https://x/y", "sha256": "abc"}}': "sha256",
    'models.faq.source={"fetch": {"url": "s3://x/y", "sha256": "' + "a" * 64 + '"}}': "url",
    "models.faq.source.pvc.subPath=../../etc": "subPath",
    'pools={"cpu": {"kind": "cpu"}}': "kind",
    'pools={"cpu": {}}': "kind",
    'pools={"a-name-that-is-much-too-long": {"kind": "cpu-ort"}}': "a-name-that-is-much-too-long",
    "pools.cpu.settings.max_runing=5": "max_runing",
    'pools={"gpu": {"kind": "gpu-triton", "settings": {"prefix_cache": true}}}': "prefix_cache",
    "pools.cpu.gpu.resourceName=gpu": "resourceName",
    "drain.maxGenerationSeconds=0": "maxGenerationSeconds",
    "drain.slackSeconds=5": "slackSeconds",
    "podSecurityContext.runAsUser=0": "runAsUser",
    "podSecurityContext.privileged=true": "privileged",
    "networkPolicy.enabled=1": "enabled",
    "monitoring.monitors.interval=15": "interval",
    "training.schedule=weekly": "schedule",
    "tests.key=abc": "key",
}

# What the schema lets through, because it needs two values to be wrong: refused by the templates, with what to do.
CONTRADICTIONS = {
    ("gateway.terminationGracePeriodSeconds=60",): "60 cuts answers off: drain needs 150",
    ("pools.cpu.terminationGracePeriodSeconds=149",): "pools.cpu.terminationGracePeriodSeconds: 149 cuts",
    ("gateway.access.allowAnonymous=false",): "where are keys kept?",
    ("gateway.persistence.enabled=true",): "for several name the secret of a PostgreSQL database",
    ("models.faq.role=classify",): "none of them generates",
    ("gateway.defaultModel=other",): "other is none of the models",
    (
        'models={"faq": {"version": 1, "source": {"pvc": {"claimName": "c"}}},'
        ' "b": {"version": 1, "source": {"pvc": {"claimName": "c"}}}}',
        'pools={"cpu": {"kind": "cpu-ort", "models": ["faq"]}}',
    ): "pools.cpu.models: b is missing",
    ('pools.cpu.models=["faq", "fqa"]',): "pools.cpu.models: fqa is no key of `models`",
    ("gateway.guard.policy=version: 1", "gateway.guard.existingConfigMap=x"): "not both",
    ("gateway.httpRoute.enabled=true",): "parentRefs",
    ("gateway.ingress.enabled=true",): "gateway.ingress.hosts",
    ("pools.cpu.strategy.maxSurge=0",): "no pod can ever be replaced",
    ("gateway.secondTier.pool=cpu", "gateway.secondTier.model=tox"): "does not serve",
    ("gateway.secondTier.pool=gpu", "gateway.secondTier.model=faq"): "gpu is no key of `pools`",
    ("gateway.settings.second_tier.action=block",): "name a pool and a model",
    ("gateway.autoscaling.mode=hpa", "gateway.autoscaling.maxReplicas=1"): "maxReplicas is below minReplicas",
    (
        'models={"a.b": {"version": 1, "source": {"pvc": {"claimName": "c"}}},'
        ' "a-b": {"version": 1, "source": {"pvc": {"claimName": "c"}}}}',
    ): "the same word to Kubernetes",
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_wrong_value_is_refused_and_named(change: str) -> None:
    done = render(MINIMAL, sets=(change,))
    assert done.code != 0, "it was taken"
    assert "values don't meet the specifications of the schema" in done.errors
    assert REFUSED[change] in done.errors


@pytest.mark.parametrize("change", list(REFUSED)[::8])
def test_helm_3_refuses_it_too(change: str) -> None:
    done = render(MINIMAL, sets=(change,), major=3)
    assert done.code != 0, "it was taken"
    assert REFUSED[change] in done.errors


@pytest.mark.parametrize("changes", CONTRADICTIONS, ids=lambda changes: changes[0][:40])
def test_values_that_contradict_one_another_are_refused_with_what_to_do(changes: tuple[str, ...]) -> None:
    done = render(MINIMAL, sets=changes)
    assert done.code != 0, "it was taken"
    assert CONTRADICTIONS[changes] in done.errors


def test_an_image_volume_on_a_cluster_without_them_is_refused() -> None:
    sets = (
        'models={"faq": {"version": 1, "source": {"image": {"reference": "registry.example.org/faq:1"}}}}',
        'pools={"cpu": {"kind": "cpu-ort"}}',
        "gateway.access.allowAnonymous=true",
    )
    assert "image volumes need Kubernetes 1.31" in render(sets=sets, version="1.30.0").errors
    assert render(sets=sets, version="1.31.0").code == 0
    assert render(MINIMAL, version="1.30.0").code == 0
    assert "kubeVersion" in render(MINIMAL, version="1.29.0").errors


def test_a_longer_grace_than_computed_is_taken() -> None:
    m = Manifests(render(MINIMAL, sets=("gateway.terminationGracePeriodSeconds=3600",)).things)
    spec = m.one("Deployment", "weir-gateway")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 3600


def test_one_number_moves_every_time_out() -> None:
    m = Manifests(render(MINIMAL, sets=("drain.maxGenerationSeconds=600", "drain.endpointSeconds=20")).things)
    gateway, node = (
        m.one("Deployment", name)["spec"]["template"]["spec"] for name in ("weir-gateway", "weir-pool-cpu")
    )
    assert gateway["terminationGracePeriodSeconds"] == node["terminationGracePeriodSeconds"] == 635
    assert node["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 20
    settings = [m.settings(pod) for pod in m.pods if pod.serves]
    assert [one["drain_timeout_s"] for one in settings] == [600, 600]
    assert [one.get("drain_delay_s") for one in settings if "releases" in one] == [20]


def test_a_change_of_settings_restarts_pods_and_a_new_chart_version_does_not(tmp_path: Path) -> None:
    def templates(done: Done) -> list[object]:
        return [pod.of["spec"]["template"] for pod in Manifests(done.things).pods if pod.serves]

    before = templates(render(MINIMAL))
    changed = templates(render(MINIMAL, sets=("gateway.settings.max_queue=5",)))
    assert [old == new for old, new in zip(before, changed, strict=True)] == [False, True]

    chart = tmp_path / "weir"
    shutil.copytree(CHART, chart, symlinks=False)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "0.1.1"}))
    assert templates(render(MINIMAL, chart=chart)) == before


def test_a_pool_that_only_classifies_is_no_node_of_the_gateway() -> None:
    tox = '"tox": {"version": 1, "role": "classify", "source": {"pvc": {"claimName": "c"}}}'
    pools = 'pools={"cpu": {"kind": "cpu-ort"}, "tier": {"kind": "cpu-ort", "models": ["tox"]}}'
    sets = ("models={" + tox + "}", pools, "gateway.secondTier.pool=tier", "gateway.secondTier.model=tox")
    m = Manifests(render(MINIMAL, sets=sets).things, NAMESPACE)
    assert problems_in(m) == []
    (gateway,) = [pod for pod in m.pods if pod.name == "Deployment/weir-gateway"]
    settings = m.settings(gateway)
    assert [node["name"] for node in settings["nodes"]] == ["cpu"]
    assert settings["second_tier"] == {"url": "http://weir-pool-tier.serving.svc.cluster.local:8100", "model": "tox"}
    assert settings["releases"] == ["/models/faq/1"]


def test_without_network_policies_there_are_none() -> None:
    done = render(FULL, sets=("networkPolicy.enabled=false",))
    assert not Manifests(done.things).of("NetworkPolicy")


def test_the_gateway_sees_secrets_only_by_reference() -> None:
    m = Manifests(render(FULL).things)
    assert not m.of("Secret")
    (gateway,) = [pod for pod in m.pods if pod.name == "Deployment/weir-gateway"]
    env = {one["name"]: one for one in gateway.spec["containers"][0]["env"]}
    for name in ("DATABASE", "REDIS", "ADMIN_TOKEN"):
        assert set(env[f"WEIR_GATEWAY_ACCESS__{name}"]) == {"name", "valueFrom"}
    assert m.settings(gateway)["access"]["audit_key_file"] == "/etc/weir/audit/audit-key"


@pytest.mark.parametrize("major", [3, 4])
def test_a_chart_that_holds_this_one_may_switch_it_and_share_values(tmp_path: Path, major: int) -> None:
    """A strict schema must let `enabled` (its condition) and whatever is `global` through."""
    umbrella = tmp_path / "umbrella"
    shutil.copytree(CHART, umbrella / "charts" / "weir")
    (umbrella / "Chart.yaml").write_text(
        "apiVersion: v2\nname: umbrella\nversion: 1.0.0\n"
        "dependencies: [{name: weir, version: 0.1.0, condition: weir.enabled}]\n"
    )
    values = {
        "global": {"imageRegistry": "registry.example.org", "ours": {"anything": [1]}},
        "weir": {"enabled": True, **yaml.safe_load(MINIMAL.read_text())},
    }
    (umbrella / "values.yaml").write_text(yaml.safe_dump(values))

    done = run_helm("template", "all", umbrella, "--namespace", "serving", "--kube-version", "1.36.0", major=major)
    gateway = Manifests(done.things).one("Deployment", "all-weir-gateway")
    image = gateway["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("registry.example.org/weir/gateway:")

    off = run_helm("template", "all", umbrella, "--set", "weir.enabled=false", "--kube-version", "1.36.0", major=major)
    assert off.code == 0, off.errors
    assert off.things == []


def test_what_is_generated_is_up_to_date() -> None:
    """If not: python tools/chart.py"""
    for path, text in generator.written().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)}: run `make chart`"


def test_the_schema_follows_the_settings_classes() -> None:
    """A bound or a field that changes there changes here; a test of the generator."""
    made = generator.settings_schema(*generator.COMPUTED["gatewaySettings"])
    assert made["additionalProperties"] is False
    assert made["properties"]["max_queue"] == {
        "type": "integer",
        "description": "requests that wait; learned below this",
        "minimum": 0,
        "maximum": 100_000,
    }
    assert not {"home", "nodes", "releases", "drain_timeout_s"} & set(made["properties"])
    assert set(made["properties"]["access"]["properties"]) == {"fail_open", "audit_days"}


def test_the_chart_starts_this_version_unless_told_otherwise() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == __version__


def test_every_value_has_a_description_and_a_default() -> None:
    rows = [line for line in (CHART / "README.md").read_text().splitlines() if line.startswith("| `")]
    undescribed = [row for row in rows if row.rstrip().endswith("|  |") and ".settings." not in row]
    assert len(rows) > 150
    assert not undescribed
