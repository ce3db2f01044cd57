"""The `parameters` of a `config.pbtxt`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weir.contracts.errors import UsageError
from weir.engine.settings import EngineSettings
from weir.telemetry.tracing import TracingSettings


class TritonSettings(BaseModel):
    """Bounds as in `weir node`'s settings. `release`: a folder beside the versions, none: the version's own folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$")
    flavour: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0, le=1024)
    max_running: int = Field(default=16, ge=1, le=256)
    max_waiting: int = Field(default=64, ge=0, le=10_000)
    kv_budget_mib: int = Field(default=2048, ge=1)
    max_context_tokens: int | None = Field(default=None, ge=16)
    otlp_endpoint: str | None = Field(default=None, description="where spans go, of requests that a gateway samples")

    def tracing(self) -> TracingSettings | None:
        """Whether a request is traced is for its caller to say."""
        return None if self.otlp_endpoint is None else TracingSettings(endpoint=self.otlp_endpoint, sample_ratio=0)

    def engine(self) -> EngineSettings:
        return EngineSettings(
            threads=self.threads,
            device=self.device,
            max_running=self.max_running,
            max_waiting=self.max_waiting,
            kv_budget_bytes=self.kv_budget_mib << 20,
            max_context_tokens=self.max_context_tokens,
        )


def read_settings(parameters: Mapping[str, Any]) -> TritonSettings:
    """Read Triton's form, `{name: {"string_value": text}}`.

    Raises:
        UsageError: a parameter is unknown or out of bounds.
    """
    try:
        return TritonSettings.model_validate({name: value["string_value"] for name, value in parameters.items()})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise UsageError(f"config.pbtxt: parameters: {name}: {first['msg']}") from error
