"""deploy/compose.yaml: it is a compose file, and what it says of Weir's processes is what they take."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from compose_spec import PyCompose
from tests.support.compose import DEPLOY, services, sources, text, variables_of

from weir.cli import VERBS
from weir.cpu_node.settings import load_node_settings
from weir.gateway.settings import load_settings

ROOT = Path(__file__).parents[2]
OURS = {"gateway": "serve", "cpu-node": "node"}
_MADE_BY_USERS = {"/releases", "/models"}


@pytest.fixture
def no_weir_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    import os

    for name in [name for name in os.environ if name.startswith("WEIR_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def parsed(service: dict[str, Any]) -> dict[str, Any]:
    """What the verb of a service's command makes of its options; an unknown one is an error."""
    verb, *words = service["command"]
    command = typer.main.get_command(importlib.import_module(VERBS[verb].module).app)
    return dict(command.make_context(verb, words).params)


def _is_to_come(source: Path) -> bool:
    """Dashboards and rules have a folder of their own; where it is, all of it must be."""
    return source.parent == ROOT / "grafana" and not source.parent.is_dir()


def test_it_is_a_compose_file_with_these_parts() -> None:
    PyCompose.from_json(json.dumps(yaml.safe_load(text()))).validate()
    always = [name for name, service in services().items() if not service.get("profiles")]
    assert sorted(always) == ["cpu-node", "gateway", "grafana", "prometheus"]
    profiles = {name: service["profiles"] for name, service in services().items() if service.get("profiles")}
    assert profiles == {"triton": ["triton"], "postgres": ["postgres"], "redis": ["redis"]}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("prots: [1]", "extension key `prots`"),
        ("read_only: perhaps", '"perhaps"'),
        ("restart: sometimes", "`sometimes`"),
    ],
)
def test_a_word_that_compose_does_not_know_would_be_seen(wrong: str, said: str) -> None:
    changed = text().replace("image: weir/gateway", f"image: weir/gateway\n    {wrong}", 1)
    with pytest.raises(ValueError, match=said):
        PyCompose.from_json(json.dumps(yaml.safe_load(changed)))


def test_what_it_mounts_and_builds_is_in_the_repository() -> None:
    for name, service in services().items():
        for target, source in sources(service).items():
            assert target in _MADE_BY_USERS or source.exists() or _is_to_come(source), f"{name} mounts {source}"
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("settings", ["gateway.yaml", "gateway-triton.yaml"])
def test_the_gateways_settings_are_real_ones(no_weir_variables: pytest.MonkeyPatch, settings: str) -> None:
    service = services(WEIR_GATEWAY_SETTINGS=settings)["gateway"]
    for name, value in variables_of(service).items():
        no_weir_variables.setenv(name, value)
    given = parsed(service)
    mounted = sources(service)[str(given["config"])]
    assert mounted.name == settings
    read = load_settings({"releases": given["release"]}, mounted)

    assert read.access.allow_anonymous
    assert read.releases == (Path("/releases/faq"),)
    published = {port.rpartition(":")[2] for port in service["ports"]}
    assert {str(read.port), str(read.admin_port)} == published
    for node in read.nodes:
        host = node.url.split("://")[1].partition(":")[0]
        assert host in services(), f"{node.url} is no service of this file"
    assert f":{read.port}/readyz" in str(service["healthcheck"])


def test_a_variable_of_the_shell_reaches_a_setting(no_weir_variables: pytest.MonkeyPatch) -> None:
    values = {"DATABASE": "postgresql://weir:x@postgres/weir", "REDIS": "redis://redis:6379/0"}
    for name, value in values.items():
        assert services()["gateway"]["environment"][f"WEIR_GATEWAY_ACCESS__{name}"] is None
        no_weir_variables.setenv(f"WEIR_GATEWAY_ACCESS__{name}", value)
    no_weir_variables.setenv("WEIR_GATEWAY_TRACING__ENDPOINT", "http://collector:4318")
    read = load_settings({"releases": [Path("x")]}, DEPLOY / "compose" / "gateway.yaml")
    assert read.tracing is not None
    assert read.access.redis is not None


def test_the_nodes_settings_are_real_ones(no_weir_variables: pytest.MonkeyPatch) -> None:
    service = services()["cpu-node"]
    for name, value in variables_of(service).items():
        no_weir_variables.setenv(name, value)
    assert parsed(service)["targets"] == ["/releases/faq"]
    read = load_node_settings({})
    assert (read.host, read.port) == ("0.0.0.0", 8100)
    assert f":{read.port}/v2/health/ready" in str(service["healthcheck"])
    assert float(service["stop_grace_period"].rstrip("s")) > read.drain_timeout_s


def test_prometheus_scrapes_what_is_there() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    targets = {target for job in config["scrape_configs"] for one in job["static_configs"] for target in one["targets"]}
    assert {"gateway:8081", "cpu-node:8100"} <= targets
    assert {target.partition(":")[0] for target in targets} <= {*services(), "localhost"}


def test_containers_may_do_little() -> None:
    for name, service in services().items():
        if name == "postgres":  # begins as root to own its volume, then drops
            continue
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    for name in OURS:
        assert services()[name]["read_only"] is True
        assert services()[name]["user"] == "10001:10001"


def test_nothing_listens_beyond_this_machine() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
