"""Asks a model the golden prompts of its release before it serves."""

from typing import Final

from weir.contracts.errors import ReleaseError
from weir.contracts.manifest import Format, ReleaseManifest
from weir.engine.runner import greedy_ids
from weir.engine.settings import EngineSettings
from weir.engine.step import Detail, Model, Row

# Kernels of another device, or of another generation of GPU, round differently. A recorded token must then be within
# this of the likeliest logit: near-equals may change places, a wrong weight does not stay within it for whole answers.
_TOLERANCE: Final = 0.5


class GoldenMismatchError(ReleaseError):
    """The graph answers a golden prompt differently here than where it was released."""

    code = "golden_mismatch"


def check_golden(
    model: Model, manifest: ReleaseManifest, chosen: Format, settings: EngineSettings, *, is_exact: bool
) -> None:
    """Repeat the golden prompts: token by token where rounding is the same (`is_exact`), else within a tolerance.

    Raises:
        GoldenMismatchError: an answer differs from the recorded one.
        ReleaseError: not every prompt has a recorded answer.
    """
    refuse_unrecorded(manifest, chosen)
    chunk = settings.prefill_chunk_tokens if model.is_exact else settings.fixed_chunk_tokens
    for number, (golden, expected) in enumerate(zip(manifest.golden, chosen.golden_greedy_ids, strict=True)):
        prompt = list(golden.prompt_ids)
        if len(prompt) + len(expected) > model.context_tokens:
            continue  # the operator has cut the context below this prompt
        if is_exact:
            is_same = greedy_ids(model, prompt, len(expected), chunk_tokens=chunk) == list(expected)
        else:
            is_same = _as_good(model, prompt, expected, chunk)
        if not is_same:
            raise mismatch(chosen.flavour, number)


def refuse_unrecorded(manifest: ReleaseManifest, chosen: Format) -> None:
    if len(chosen.golden_greedy_ids) != len(manifest.golden):
        raise ReleaseError(f"{chosen.flavour}: not every golden prompt has recorded answers")


def mismatch(flavour: str, number: int) -> GoldenMismatchError:
    return GoldenMismatchError(f"{flavour}: golden prompt {number} is not answered as it was when released")


def _as_good(model: Model, prompt: list[int], expected: tuple[int, ...], chunk: int) -> bool:
    """Whether each recorded token, after the recorded ones before it, is about as likely as the likeliest."""
    blocks = range(-(-(len(prompt) + len(expected)) // model.block_tokens))
    last = (len(prompt) - 1) // chunk * chunk
    for at in range(0, last, chunk):
        model.run([Row(blocks, prompt[at : at + chunk], at, 0)])
    row = Row(blocks, prompt[last:], last, 1, Detail.FULL)
    for past, token in enumerate(expected, len(prompt)):
        [[position]] = model.run([row])
        logits = position.full
        if logits is None or float(logits.max()) - float(logits[token]) > _TOLERANCE:
            return False
        row = Row(blocks, [token], past, 1, Detail.FULL)
    return True
