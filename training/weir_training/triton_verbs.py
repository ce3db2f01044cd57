"""`weir triton`: entries for Triton's other backends, which run a release's checkpoint on GPUs."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from weir.contracts.errors import UsageError
from weir.release.reader import open_release
from weir_training.benching.target import find_release
from weir_training.options import DEFAULT_HOME, Home
from weir_training.quantise import Kind
from weir_training.triton_tensorrt_llm import CODE, write_tensorrt_llm_entry
from weir_training.triton_vllm import write_vllm_entry

app = typer.Typer(add_completion=False)

Backend = Literal["vllm", "tensorrt-llm"]
_FOLDER: Final = "triton"
_WHERE_CODE_IS: Final = (
    f"add {' and '.join(CODE)}: they are NVIDIA's, in the image's all_models/llmapi/tensorrt_llm/1 (or give --code)"
)


@app.command()
def command(  # noqa: PLR0913  a command line's options are its arguments
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="MODEL (its newest), MODEL/VERSION or a folder.")],
    backend: Annotated[Backend, typer.Option("--for", help="Which of Triton's backends.")],
    repository: Annotated[
        Path | None, typer.Option("--repository", help="Model repository to write into; default <home>/triton/BACKEND.")
    ] = None,
    releases_at: Annotated[
        str | None,
        typer.Option("--releases-at", metavar="PATH", help="Where the server sees the home's releases folder."),
    ] = None,
    checkpoint: Annotated[
        Kind | None, typer.Option("--checkpoint", help="tensorrt-llm: a quantised checkpoint of the release.")
    ] = None,
    code: Annotated[
        Path | None, typer.Option("--code", help=f"tensorrt-llm: the folder of NVIDIA's {' and '.join(CODE)}.")
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Write a release as an entry of a Triton model repository for the vLLM backend or TensorRT-LLM's LLM API."""
    if backend == "vllm" and (checkpoint or code):
        raise UsageError("--checkpoint and --code are for --for tensorrt-llm")
    found = open_release(find_release(release, home))
    manifest, target = found.manifest, repository or home / _FOLDER / backend
    seen_at = str(found.root.resolve())
    if releases_at is not None:
        seen_at = f"{releases_at.rstrip('/')}/{manifest.model}/{manifest.version}"
    if backend == "vllm":
        made = write_vllm_entry(manifest, seen_at, target)
    else:
        made = write_tensorrt_llm_entry(manifest, seen_at, target, quantised=checkpoint and checkpoint.value, code=code)
    typer.echo(f"entry    {made}\nloads    {seen_at}")
    if backend == "tensorrt-llm" and code is None:
        typer.echo(_WHERE_CODE_IS)
