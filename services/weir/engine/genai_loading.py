"""From a release's paged flavour to the engine `genai-paged`, asked its golden prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import WeirError
from weir.contracts.events import FinishReason
from weir.contracts.manifest import Format, ReleaseManifest
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.device import Device, DeviceMissingError
from weir.engine.engine import EngineInfo
from weir.engine.genai import GenaiEngine, GenaiModel
from weir.engine.golden import mismatch, refuse_unrecorded
from weir.engine.observer import EngineObserver
from weir.engine.settings import EngineSettings
from weir.release.reader import Release
from weir.release.tokenizer import ReleaseTokenizer

_INSTALL: Final = "pip install 'weir[gpu]' in an environment of its own"
_AGREEMENT: Final = 0.5  # of the recorded tokens, in unbroken beginnings: kernels round differently, weights do not


def load_paged(
    release: Release, chosen: Format, settings: EngineSettings, *, observer: EngineObserver | None = None
) -> GenaiEngine:
    """Load `chosen`, a paged flavour, on the GPU; return an engine to start.

    Raises:
        DeviceMissingError: onnxruntime-genai with CUDA is not installed, or there is no GPU.
        GoldenMismatchError: the golden prompts are not answered as they were.
    """
    og = _module(chosen.flavour, settings)
    manifest = release.manifest
    tokenizer = ReleaseTokenizer(release.checkpoint / "tokenizer.json")
    folder = release.graph(chosen.flavour).parent

    def open_model() -> GenaiModel[Any]:
        model = _opened(og, folder, settings)
        if settings.check_golden:
            check_paged(model, manifest, chosen)
        return model

    info = EngineInfo(manifest.model, manifest.version, chosen.flavour, 0, manifest.eos_ids, device=Device.CUDA.value)
    return GenaiEngine(open_model, tokenizer, info, settings=settings, observer=observer)


def _opened(og: Any, folder: Path, settings: EngineSettings) -> GenaiModel[Any]:
    try:
        return GenaiModel(og, folder, max_batch_size=settings.max_running, batching="dynamic_batching")
    except RuntimeError as error:
        raise DeviceMissingError(f"{folder.name}: onnxruntime-genai does not open it on a GPU: {error}") from error


def _module(flavour: str, settings: EngineSettings) -> Any:
    if settings.device == "cpu":
        raise DeviceMissingError(f"{flavour}: PagedAttention has no kernel for the CPU")
    try:
        import onnxruntime_genai as og
    except ModuleNotFoundError as error:
        raise DeviceMissingError(f"{flavour} needs onnxruntime-genai-cuda ({_INSTALL})") from error
    og.disable_telemetry_events()
    if not og.is_cuda_available():
        raise DeviceMissingError(
            f"{flavour} needs an NVIDIA GPU, and this onnxruntime-genai is built without CUDA ({_INSTALL})"
        )
    return og


def check_paged(model: GenaiModel[Any], manifest: ReleaseManifest, chosen: Format) -> None:
    """Ask the golden prompts.

    Raises:
        GoldenMismatchError: of the recorded tokens too few come again.
    """
    refuse_unrecorded(manifest, chosen)
    for number, (golden, expected) in enumerate(zip(manifest.golden, chosen.golden_greedy_ids, strict=True)):
        said = greedy(model, golden.prompt_ids, len(expected))
        pairs = enumerate(zip(said, expected, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), len(said))
        if same == len(said) < len(expected):
            same += expected[same] in manifest.eos_ids
        if same < _AGREEMENT * len(expected):
            raise mismatch(chosen.flavour, number)


def greedy(model: GenaiModel[Any], prompt: Sequence[int], count: int) -> list[int]:
    """Return the `count` likeliest next tokens, one after another; fewer when the next one would be the end."""
    sampling = SamplingParams(max_new_tokens=count)
    listener = _Listener(GenerateRequest(id="golden", prompt="golden", sampling=sampling), list(prompt), count)
    model.begin(listener)
    while model.running:
        model.step()
    return listener.said


class _Listener:
    """Implements `weir.engine.genai.Asked`: keeps the tokens; nobody waits for text."""

    def __init__(self, request: GenerateRequest, prompt: list[int], max_new_tokens: int) -> None:
        self.request = request
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.handle: Any = None
        self.number = 0
        self.is_over = False
        self.said: list[int] = []

    def take(self, token: int) -> None:
        self.said.append(token)

    def end(self, reason: FinishReason) -> None:
        del reason
        self.is_over = True

    def end_of_sequence(self) -> None:
        self.is_over = True

    def fail(self, error: WeirError, outcome: str) -> None:
        del outcome
        raise error
