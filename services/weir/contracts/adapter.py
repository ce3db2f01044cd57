"""A LoRA adapter that was published after its release."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from weir.contracts.manifest import AdapterEntry, FileEntry, Sha256
from weir.contracts.request import MODEL_NAME


class AdapterManifest(BaseModel):
    """Written beside the adapter's files when it was proven on the release that it names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str = Field(pattern=MODEL_NAME)
    version: int = Field(ge=1)
    release_sha256: Sha256 = Field(description="of the release's manifest.json")
    created: datetime
    entry: AdapterEntry
    files: tuple[FileEntry, ...]
