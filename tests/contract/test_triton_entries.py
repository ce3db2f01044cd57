"""What `weir triton` and `weir publish` write for Triton, read as Triton reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tests.support.tiny_release import make_tiny_release
from tritonclient.grpc import model_config_pb2

from weir import cli
from weir.contracts.errors import UsageError
from weir.contracts.manifest import AdapterEntry, Parity, QuantisedEntry, ReleaseManifest
from weir.release.reader import read_manifest
from weir_training import triton_entry, triton_tensorrt_llm, triton_vllm
from weir_training.triton_tensorrt_llm import write_tensorrt_llm_entry
from weir_training.triton_vllm import write_vllm_entry


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    make_tiny_release(home / "releases", precisions=("fp32",))
    return home


@pytest.fixture
def manifest(home: Path) -> ReleaseManifest:
    return read_manifest(home / "releases" / "tiny" / "1")


def parsed(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def of(manifest: ReleaseManifest, **changes: Any) -> ReleaseManifest:
    return manifest.model_copy(update=changes)


def adapter(name: str, rank: int) -> AdapterEntry:
    return AdapterEntry(name=name, rank=rank, mean_kl=0.0, argmax_agreement=1.0)


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        (triton_entry.config_text("faq"), "weir"),
        (triton_vllm.config_text("faq"), "vllm"),
        (triton_tensorrt_llm.config_text("faq"), "python"),
    ],
)
def test_every_configuration_is_one_to_triton(text: str, backend: str) -> None:
    config = parsed(text)
    assert (config.name, config.backend) == ("faq", backend)
    assert len(config.instance_group) == 1


def test_what_tensorrt_llms_model_sets_itself_is_not_in_its_configuration() -> None:
    config = parsed(triton_tensorrt_llm.config_text("faq"))
    assert config.max_batch_size == 0
    assert not config.HasField("model_transaction_policy")
    inputs = {found.name: found for found in config.input}
    assert not inputs["text_input"].optional
    assert all(found.optional for name, found in inputs.items() if name != "text_input")
    assert inputs["sampling_param_seed"].data_type == model_config_pb2.TYPE_UINT64


def test_a_vllm_entry_names_the_checkpoint_as_the_server_sees_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("triton", "tiny", "--for", "vllm", "--releases-at", "/releases/", "--home", str(home))
    assert cli.run(list(arguments)) == 0
    entry = home / "triton" / "vllm" / "tiny"
    written = json.loads((entry / "1" / "model.json").read_text())
    assert written["model"] == "/releases/tiny/1/model"
    assert written["max_model_len"] == 512
    assert written["trust_remote_code"] is False
    assert "enable_lora" not in written
    assert not (entry / "1" / "multi_lora.json").exists()
    assert parsed((entry / "config.pbtxt").read_text()).backend == "vllm"
    assert "/releases/tiny/1" in capsys.readouterr().out


def test_adapters_of_a_release_are_vllms_too(manifest: ReleaseManifest, tmp_path: Path) -> None:
    both = of(manifest, adapters=(adapter("tone", 12), adapter("law", 40)))
    entry = write_vllm_entry(both, "/r/tiny/1", tmp_path)
    written = json.loads((entry / "model.json").read_text())
    assert (written["enable_lora"], written["max_lora_rank"]) == (True, 64)
    assert json.loads((entry / "multi_lora.json").read_text()) == {
        "tone": "/r/tiny/1/adapters/tone",
        "law": "/r/tiny/1/adapters/law",
    }
    with pytest.raises(UsageError, match="rank 513"):
        write_vllm_entry(of(manifest, adapters=(adapter("wide", 513),)), "/r", tmp_path)


def test_what_an_operator_tuned_goes_on_in_the_next_version(manifest: ReleaseManifest, tmp_path: Path) -> None:
    entry = write_vllm_entry(of(manifest, adapters=(adapter("tone", 8),)), "/r/tiny/1", tmp_path)
    tuned = json.loads((entry / "model.json").read_text()) | {"tensor_parallel_size": 4, "max_model_len": 256}
    (entry / "model.json").write_text(json.dumps(tuned))
    (entry.parent / "config.pbtxt").write_text("# mine")
    entry = write_vllm_entry(of(manifest, version=2), "/r/tiny/2", tmp_path)
    written = json.loads((entry / "model.json").read_text())
    assert (written["tensor_parallel_size"], written["max_model_len"]) == (4, 256)
    assert written["model"] == "/r/tiny/2/model"
    assert "enable_lora" not in written
    assert (entry.parent / "config.pbtxt").read_text() == "# mine"


def quantised(manifest: ReleaseManifest) -> ReleaseManifest:
    parity: Parity = manifest.formats[0].parity
    return of(manifest, quantised=(QuantisedEntry(format="fp8", path="quantised/fp8", parity=parity),))


def test_a_tensorrt_llm_entry_holds_models_arguments_and_nvidias_code(
    manifest: ReleaseManifest, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    for name in ("model.py", "helpers.py"):
        (code / name).write_text(f"# {name}")
    entry = write_tensorrt_llm_entry(
        quantised(manifest), "/r/tiny/1", tmp_path / "repository", quantised="fp8", code=code
    )
    written = yaml.safe_load((entry / "model.yaml").read_text())
    assert written["model"] == "/r/tiny/1/quantised/fp8"
    assert written["backend"] == "pytorch"
    assert written["triton_config"]["decoupled"] is True
    assert (entry / "helpers.py").read_text() == "# helpers.py"

    (entry / "model.yaml").write_text(yaml.safe_dump(written | {"tensor_parallel_size": 2}))
    entry = write_tensorrt_llm_entry(of(manifest, version=2), "/r/tiny/2", tmp_path / "repository")
    written = yaml.safe_load((entry / "model.yaml").read_text())
    assert (written["model"], written["tensor_parallel_size"]) == ("/r/tiny/2/model", 2)


def test_what_is_not_there_is_named(manifest: ReleaseManifest, tmp_path: Path, home: Path) -> None:
    with pytest.raises(UsageError, match=r"no checkpoint in int4_awq \(it has: fp8\)"):
        write_tensorrt_llm_entry(quantised(manifest), "/r", tmp_path, quantised="int4_awq")
    with pytest.raises(UsageError, match=r"no model\.py there"):
        write_tensorrt_llm_entry(manifest, "/r", tmp_path, code=tmp_path)
    assert not list(tmp_path.iterdir())
    assert cli.run(["triton", "tiny", "--for", "vllm", "--checkpoint", "fp8", "--home", str(home)]) == 2
    assert cli.run(["triton", "nobody", "--for", "vllm", "--home", str(home)]) == 2


def test_without_nvidias_code_the_command_says_where_it_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["triton", "tiny", "--for", "tensorrt-llm", "--home", str(home)]) == 0
    assert "all_models/llmapi" in capsys.readouterr().out
    assert (home / "triton" / "tensorrt-llm" / "tiny" / "1" / "model.yaml").is_file()
