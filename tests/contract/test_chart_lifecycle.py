"""The real helm installs, upgrades, rolls back, tests and uninstalls the chart, against a stub API."""

import copy
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.chart import CHART, NAMESPACE, VERSIONS, Done, render, run_helm, schema_problems
from tests.support.manifests import Thing
from tests.support.servers import postgres
from tests.support.stub_api import Cluster, stub_api

MINIMAL, CANARY = (CHART / "ci" / f"{name}.yaml" for name in ("minimal", "canary"))


@dataclass
class Helm:
    """One major version of helm, and the stub that it talks to."""

    major: int
    cluster: Cluster
    env: dict[str, str]

    def __call__(self, verb: str, *words: str | Path) -> Done:
        """Run a verb over the release `weir`; helm 4 applies on its own side, which the stub knows."""
        sides = ("--server-side=false",) if self.major == 4 and verb in {"install", "upgrade", "rollback"} else ()
        return run_helm(verb, "weir", *words, *sides, "--namespace", NAMESPACE, major=self.major, env=self.env)

    def done(self, verb: str, *words: str | Path) -> str:
        done = self(verb, *words)
        assert done.code == 0, f"{done.errors}\n{self.cluster.requests[-5:]}"
        return done.output


@pytest.fixture(scope="module")
def releases_kept_in() -> Iterator[str]:
    """Helm keeps its releases in a database here: as Secrets it writes protobuf, which the stub does not read."""
    with postgres() as url:
        yield f"{url}?sslmode=disable"


def only(major: int) -> pytest.MarkDecorator:
    """One version is enough where what is tested is not helm."""
    return pytest.mark.parametrize("helm", [major], ids=[f"helm{major}"], indirect=True)


@pytest.fixture(params=[3, 4], ids=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, tmp_path: Path, releases_kept_in: str) -> Iterator[Helm]:
    schema_problems({"apiVersion": "v1", "kind": "Pod"}, VERSIONS[-1])  # skips where there are no schemas
    with stub_api(VERSIONS[-1]) as cluster:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KUBECONFIG": str(cluster.kubeconfig(tmp_path / "kubeconfig")),
            "HELM_DRIVER": "sql",
            "HELM_DRIVER_SQL_CONNECTION_STRING": releases_kept_in,
        }
        helm = Helm(request.param, cluster, env)
        yield helm
        helm("uninstall", "--ignore-not-found")


def values(case: Path, **changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(case.read_text()), **changes}


def written(folder: Path, name: str, tree: dict[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def differences(cluster: Cluster, file: Path, chart: Path = CHART) -> list[str]:
    """What the stub holds, but for what a server adds, against what the chart renders."""
    wanted = {f"{t['kind']}/{t['metadata']['name']}": t for t in render(file, chart=chart).things if not _is_test(t)}
    found = {name for name in cluster.names() if not name.startswith("Pod/")}
    wrong = [f"{name}: in one place only" for name in sorted(set(wanted) ^ found)]
    for name, thing in wanted.items():
        kind, _, short = name.partition("/")
        if name in found and _plain(cluster.of(kind, short)) != _plain(thing):
            wrong.append(name)
    return wrong


def _is_test(thing: Thing) -> bool:
    return "helm.sh/hook" in thing["metadata"].get("annotations", {})


def _plain(thing: Thing | None) -> Thing:
    """Without what helm and a server add."""
    assert thing is not None
    plain = copy.deepcopy(thing)
    for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        plain["metadata"].pop(name, None)
    annotations = plain["metadata"].pop("annotations", {})
    kept = {key: value for key, value in annotations.items() if not key.startswith("meta.helm.sh/")}
    return {**plain, "annotations": kept}


def test_install_upgrade_roll_back_test_and_uninstall(helm: Helm, tmp_path: Path) -> None:
    """Every object is what the chart renders, after each step; what is no longer rendered is gone."""
    cluster = helm.cluster
    first = written(tmp_path, "first", values(MINIMAL))
    second = written(
        tmp_path,
        "second",
        values(
            MINIMAL,
            gateway={
                "access": {"allowAnonymous": True},
                "settings": {"max_queue": 9},
                "extraEnv": [{"name": "A", "value": "b"}],
            },
            pools={"cpu": {"kind": "cpu-ort", "replicas": 3}, "more": {"kind": "cpu-ort"}},
            networkPolicy={"enabled": False},
            monitoring={"monitors": {"enabled": True}},
        ),
    )
    notes = helm.done("install", CHART, "--values", first)
    assert "curl 127.0.0.1:8080/generate" in notes
    assert differences(cluster, first) == []

    helm.done("upgrade", CHART, "--values", second)
    assert differences(cluster, second) == []
    assert cluster.of("Deployment", "weir-pool-more")
    assert not cluster.of("NetworkPolicy", "weir-deny")

    helm.done("rollback", "1")
    assert differences(cluster, first) == []

    helm.done("test", "--timeout", "30s")
    tested = [line for line in cluster.requests if line.startswith("POST") and line.partition("?")[0].endswith("/pods")]
    assert len(tested) == 2

    helm.done("uninstall")
    assert cluster.names() == set()


def test_an_upgrade_keeps_the_number_of_pods_that_the_autoscaler_chose(helm: Helm, tmp_path: Path) -> None:
    scaled = {"cpu": {"kind": "cpu-ort", "autoscaling": {"mode": "hpa", "maxReplicas": 8}}}
    first = written(tmp_path, "first", values(MINIMAL, pools=scaled))
    scaled["cpu"]["settings"] = {"max_running": 4}
    second = written(tmp_path, "second", values(MINIMAL, pools=scaled))

    helm.done("install", CHART, "--values", first)
    deployment = helm.cluster.of("Deployment", "weir-pool-cpu")
    assert deployment is not None
    deployment["spec"]["replicas"] = 5  # the autoscaler's doing
    helm.done("upgrade", CHART, "--values", second)

    after = helm.cluster.of("Deployment", "weir-pool-cpu")
    assert after is not None
    assert after["spec"]["replicas"] == 5
    assert "max_running: 4" in str(helm.cluster.of("ConfigMap", "weir-pool-cpu"))


@only(4)
def test_another_training_is_another_job_and_claims_outlive_the_chart(helm: Helm, tmp_path: Path) -> None:
    """A Job's template is immutable: the stub refuses to change one, as a cluster does."""
    first = written(tmp_path, "first", values(CANARY))
    second = written(tmp_path, "second", values(CANARY, training={"enabled": True, "args": ["--set=train.epochs=9"]}))
    helm.done("install", CHART, "--values", first)
    (before,) = [name for name in helm.cluster.names() if name.startswith("Job/")]
    helm.done("upgrade", CHART, "--values", second)
    (after,) = [name for name in helm.cluster.names() if name.startswith("Job/")]
    assert before != after
    helm.done("uninstall")
    assert helm.cluster.names() == {"PersistentVolumeClaim/weir-training"}


@only(3)
def test_a_chart_that_changes_a_selector_cannot_be_upgraded_to(helm: Helm, tmp_path: Path) -> None:
    """Why selectors hold nothing that may change; and a test that the stub notices."""
    chart = tmp_path / "weir"
    shutil.copytree(CHART, chart)
    names = chart / "templates" / "_names.tpl"
    text = names.read_text()
    changed = text.replace(
        "app.kubernetes.io/component: {{ .component }}", "app.kubernetes.io/component: {{ .component }}-v2", 1
    )
    assert changed != text
    helm.done("install", CHART, "--values", MINIMAL)
    names.write_text(changed)
    done = helm("upgrade", chart, "--values", MINIMAL)
    assert done.code != 0
    assert "field is immutable" in done.errors


@only(4)
def test_a_field_that_the_cluster_does_not_know_stops_the_installation(helm: Helm, tmp_path: Path) -> None:
    chart = tmp_path / "weir"
    shutil.copytree(CHART, chart)
    template = chart / "templates" / "gateway" / "pdb.yaml"
    template.write_text(template.read_text().replace("maxUnavailable:", "maxUnavailible:"))
    done = helm("install", chart, "--values", MINIMAL)
    assert done.code != 0
    assert "maxUnavailible" in done.errors
