"""What needs an NVIDIA GPU; elsewhere every test here is skipped, and says why."""

import subprocess

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.get_closest_marker("gpu")]
    if here and (reason := missing()):
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))


def missing() -> str | None:
    """Say what keeps these tests from running; None: nothing."""
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "no NVIDIA GPU: nvidia-smi does not run here (`make gpu` on a machine with one)"
    if found.returncode != 0 or "GPU 0" not in found.stdout:
        return "no NVIDIA GPU: nvidia-smi lists none"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this onnxruntime has no CUDA provider: `make gpu` makes an environment that has"
    return None
