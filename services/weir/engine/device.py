"""Where a graph runs: this machine's CPU, or an NVIDIA GPU through onnxruntime's CUDA provider."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError
from weir.contracts.manifest import is_cuda

Wanted = Literal["auto", "cpu", "cuda"]
_PROVIDER: Final = "CUDAExecutionProvider"
_OPTIONS: Final = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}
_INSTALL: Final = "pip install 'weir[gpu]' in an environment of its own, without onnxruntime"


class DeviceMissingError(ReleaseError):
    """A graph is made for a device that this process does not have."""

    code = "device_missing"


class Device(StrEnum):
    CPU = "cpu"
    CUDA = "cuda"


def choose_device(flavour: str, wanted: Wanted) -> Device:
    """Return where `flavour` is to run. `auto`: where it was made for; `cpu` takes a CUDA flavour too, to check it.

    Raises:
        DeviceMissingError: a GPU is needed and this onnxruntime has no CUDA provider, or a CPU flavour is asked to run
            on one.
    """
    if not is_cuda(flavour):
        if wanted == "cuda":
            raise DeviceMissingError(f"{flavour} is made for the CPU; take a cuda flavour for a GPU")
        return Device.CPU
    if wanted == "cpu":
        return Device.CPU
    if _PROVIDER not in ort.get_available_providers():
        raise DeviceMissingError(
            f"{flavour} needs an NVIDIA GPU, and this onnxruntime has no CUDA provider ({_INSTALL}); "
            "device cpu runs it here, slowly, to check it"
        )
    return Device.CUDA


def open_session(path: str, options: Any, device: Device) -> Any:
    """Return an onnxruntime session on `device`.

    Raises:
        DeviceMissingError: the CUDA provider does not start: no GPU, no driver, or its libraries are missing.
    """
    if device is Device.CPU:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ort.preload_dlls()  # of the nvidia-* packages that weir[gpu] brings
    session = ort.InferenceSession(path, options, providers=[(_PROVIDER, dict(_OPTIONS)), "CPUExecutionProvider"])
    if _PROVIDER not in session.get_providers():  # onnxruntime goes on with the CPU when it cannot have the GPU
        raise DeviceMissingError("onnxruntime's CUDA provider does not start; its log says why (`weir doctor` looks)")
    return session


class Buffer:
    """Zeroed memory on a device, of `shape` (its first axis: slots)."""

    def __init__(self, shape: Sequence[int], dtype: type[np.generic], device: Device) -> None:
        self.device = device
        self.dtype = dtype
        self.shape = tuple(shape)
        self.host: NDArray[Any] | None = None
        zeros = np.zeros(shape, dtype)
        if device is Device.CPU:
            self.host, self._base = zeros, int(zeros.ctypes.data)
        else:
            self._value = ort.OrtValue.ortvalue_from_numpy(zeros, "cuda", 0)
            self._base = int(self._value.data_ptr())
        self._slot_bytes = zeros[0].nbytes

    def bind(self, bind: Any, name: str, first: int, count: int) -> None:
        """Bind slots `first` .. `first + count - 1` as input or output `name`."""
        address = self._base + first * self._slot_bytes
        bind(name, self.device.value, 0, self.dtype, (count, *self.shape[1:]), address)
