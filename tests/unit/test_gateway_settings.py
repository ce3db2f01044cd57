"""Where the gateway's settings come from, and how a wrong one is refused."""

from pathlib import Path

import pytest

from weir.contracts.errors import UsageError
from weir.gateway.settings import load_settings
from weir.gateway.verbs import _embedders, _node

GIVEN = {"nodes": [{"name": "cpu-0", "url": "http://127.0.0.1:8100"}], "releases": [Path("r")]}


def test_flags_beat_the_environment_and_that_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("port: 1111\nhost: 0.0.0.0\nmax_queue: 3\nreleases: [other]")
    monkeypatch.setenv("WEIR_GATEWAY_PORT", "2222")
    monkeypatch.setenv("WEIR_GATEWAY_MAX_QUEUE", "4")
    monkeypatch.setenv("WEIR_GATEWAY_NODES", '[{"name": "from-env", "url": "http://h:1"}]')

    settings = load_settings({"port": 3333}, file)

    assert (settings.port, settings.max_queue, settings.host) == (3333, 4, "0.0.0.0")
    assert settings.nodes[0].name == "from-env"
    assert settings.releases == (Path("other"),)
    assert settings.drain_timeout_s == 25


def test_the_second_tier_is_off_until_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(GIVEN).second_tier is None
    monkeypatch.setenv("WEIR_GATEWAY_SECOND_TIER__URL", "http://127.0.0.1:8100")
    monkeypatch.setenv("WEIR_GATEWAY_SECOND_TIER__MODEL", "injection")
    chosen = load_settings(GIVEN).second_tier
    assert chosen is not None
    assert (chosen.model, chosen.action, chosen.budget_s, chosen.fail_open) == ("injection", "flag", 0.25, False)


def test_an_embedder_is_at_its_own_nodes_or_at_those_that_generate() -> None:
    given = _embedders(["words", "minilm=http://a:1", "minilm=https://b:2"])
    words, minilm = load_settings(GIVEN | {"embedders": given}).embedders_at_nodes

    assert (words.release, words.urls) == (Path("words"), ("http://127.0.0.1:8100",))
    assert (minilm.release, minilm.urls) == (Path("minilm"), ("http://a:1", "https://b:2"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "the gateway needs --release DIR"),
        ({"releases": ["r"]}, "the gateway needs --node URL"),
        ({"nodes": GIVEN["nodes"]}, "the gateway needs --release DIR"),
        (GIVEN | {"prot": 1}, "no setting 'prot' (did you mean 'port'?)"),
        (GIVEN | {"port": 0}, "port: Input should be greater than or equal to 1"),
        (GIVEN | {"nodes": [*GIVEN["nodes"], *GIVEN["nodes"]]}, "node names must differ: cpu-0, cpu-0"),
        (GIVEN | {"nodes": [{"name": "a", "url": "ftp://x"}]}, "nodes.0.url"),
        (
            {"nodes": [{"name": "a", "url": "grpc://h:1"}], "releases": ["r"], "embedders": [{"release": "e"}]},
            "an embedder needs `urls`",
        ),
        (GIVEN | {"second_tier": {"url": "http://h:1"}}, "second_tier.model: Field required"),
        (GIVEN | {"second_tier": {"url": "http://h:1", "model": "m", "action": "redact"}}, "second_tier.action"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(flags)
    assert words in str(caught.value)


def test_a_missing_file_and_a_broken_variable_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such settings file"):
        load_settings(GIVEN, tmp_path / "none.yaml")
    monkeypatch.setenv("WEIR_GATEWAY_NODES", "not json")
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings({})


def test_a_node_may_be_named() -> None:
    assert _node(1, "http://127.0.0.1:8100") == {"name": "cpu-1", "url": "http://127.0.0.1:8100"}
    assert _node(0, "gpu=http://h:1") == {"name": "gpu", "url": "http://h:1"}


def test_settings_of_the_edge_come_from_all_sources_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("edge: {workers: 3, admin_host: 0.0.0.0}")
    monkeypatch.setenv("WEIR_GATEWAY_EDGE__ADMIN_PORT", "9")

    settings = load_settings(GIVEN | {"edge": {"workers": 2}}, file)

    assert (settings.edge.workers, settings.edge.admin_host, settings.admin_port) == (2, "0.0.0.0", 9)


def test_the_admin_port_is_beside_the_port_or_off() -> None:
    assert load_settings(GIVEN).admin_port == 8081
    assert load_settings(GIVEN | {"port": 65535}).admin_port == 65534
    assert load_settings(GIVEN | {"edge": {"admin_port": 0}}).admin_port == 0
    with pytest.raises(UsageError, match=r"edge\.workers"):
        load_settings(GIVEN | {"edge": {"workers": 0}})
