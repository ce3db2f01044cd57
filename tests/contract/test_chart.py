"""The Helm chart: real helm 3 and 4 over every example, strict schemas, and what holds of every object."""

import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from tests.support.chart import CASES, CHART, VERSIONS, Done, manifests_of, render, rendered, run_helm, schema_problems
from tests.support.invariants import problems_in
from tests.support.manifests import Manifests, Thing

FULL = CHART / "ci" / "full.yaml"
case = pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)


@case
@pytest.mark.parametrize("major", [3, 4])
def test_helm_lints_it(case: Path, major: int) -> None:
    done = run_helm("lint", "--strict", CHART, "--values", case, "--kube-version", VERSIONS[-1], major=major)
    assert done.code == 0, done.output + done.errors


@case
def test_helm_3_and_4_and_two_kubernetes_versions_make_the_same_of_it(case: Path) -> None:
    def sorted_things(done: Done) -> list[Thing]:
        return sorted(done.things, key=lambda thing: (thing["kind"], thing["metadata"]["name"]))

    first = sorted_things(rendered(case))
    for major, version in ((3, VERSIONS[-1]), (3, VERSIONS[0]), (4, VERSIONS[0])):
        assert sorted_things(rendered(case, major, version)) == first, (major, version)


@case
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_its_schema(case: Path, version: str) -> None:
    """Also of custom resources; unknown fields are refused, which a cluster would silently drop."""
    wrong = {
        f"{thing['kind']}/{thing['metadata']['name']}": found
        for thing in rendered(case).things
        if (found := schema_problems(thing, version))
    }
    assert not wrong


@case
def test_what_holds_of_every_object(case: Path) -> None:
    assert problems_in(manifests_of(case)) == []


def test_every_kind_of_object_is_made_by_some_example() -> None:
    made = {thing["kind"] for path in CASES for thing in rendered(path).things}
    assert made == {
        "AnalysisTemplate", "ConfigMap", "CronJob", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress",
        "Job", "NetworkPolicy", "PersistentVolumeClaim", "Pod", "PodDisruptionBudget", "PodMonitor", "Rollout",
        "ScaledObject", "Service", "ServiceAccount", "ServiceMonitor", *rules_and_dashboards(),
    }  # fmt: skip


def rules_and_dashboards() -> set[str]:
    return {"PrometheusRule"} if any((CHART / "rules").glob("*.yaml")) else set()


@pytest.mark.parametrize("kind", ["pvc", "image", "fetch"])
def test_a_release_is_at_the_same_place_whatever_its_source(kind: str) -> None:
    source = {
        "pvc": '{"claimName": "releases"}',
        "image": '{"reference": "registry.example.org/faq:7"}',
        "fetch": '{"url": "https://releases.example.org/faq.tar.gz", "sha256": "' + "ab" * 32 + '"}',
    }[kind]
    sets = (
        'models={"faq": {"version": 7, "source": {"' + kind + '": ' + source + "}}}",
        'pools={"cpu": {"kind": "cpu-ort"}, "gpu": {"kind": "gpu-triton"}}',
        "gateway.access.allowAnonymous=true",
    )
    m = Manifests(render(sets=sets).things)
    assert problems_in(m) == []
    for name in ("weir-gateway", "weir-pool-cpu", "weir-pool-gpu"):
        container = m.one("Deployment", name)["spec"]["template"]["spec"]["containers"][0]
        places = [mount["mountPath"] for mount in container["volumeMounts"] if "release" in mount["name"]]
        assert places == ["/models/faq/7"], name


def test_rules_and_dashboards_are_wrapped_and_not_read_as_templates(tmp_path: Path) -> None:
    """Alerts and dashboards have braces of their own."""
    chart = tmp_path / "weir"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("rules", "dashboards"), symlinks=True)
    (chart / "rules").mkdir()
    (chart / "dashboards").mkdir()
    alert = '{alert: B, expr: up == 0, annotations: {summary: "{{ $labels.x }}"}}'
    rules = f"groups:\n  - name: a\n    rules:\n      - {alert}\n"
    dashboard = '{"uid": "weir-one", "title": "{{ not a template }}"}\n'
    (chart / "rules" / "some.yaml").write_text(rules)
    (chart / "dashboards" / "one.json").write_text(dashboard)

    m = Manifests(render(FULL, chart=chart).things)
    rule = m.one("PrometheusRule", "weir-some")
    assert rule["spec"] == yaml.safe_load(rules)
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert schema_problems(rule, VERSIONS[-1]) == []
    board = m.one("ConfigMap", "weir-dashboard-one")
    assert board["data"] == {"one.json": dashboard.rstrip("\n")}
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["metadata"]["annotations"]["grafana_folder"] == "Weir"


def test_a_package_holds_what_the_links_mean(tmp_path: Path) -> None:
    for major in (3, 4):
        done = run_helm("package", CHART, "--destination", tmp_path / str(major), major=major)
        assert done.code == 0, done.errors
        with tarfile.open(next((tmp_path / str(major)).glob("*.tgz"))) as packed:
            inside = set(packed.getnames())
        for path in (*(CHART / "rules").glob("*.yaml"), *(CHART / "dashboards").glob("*.json")):
            assert f"weir/{path.parent.name}/{path.name}" in inside
        assert not [name for name in inside if "/ci/" in name]
