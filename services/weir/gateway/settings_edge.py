"""Settings of processes and ports."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# As browsers write it: scheme, host, and the port where it is not the scheme's own; no path, no slash.
Origin = Annotated[str, Field(pattern=r"^(\*|null|[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]_-]+)$")]


class EdgeSettings(BaseModel):
    """How the gateway meets the outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=1, ge=1, le=256, description="processes; each uses one core and has its own bounds")
    admin_host: str = Field(default="127.0.0.1", description="address of `/metrics` and `/admin/...`")
    admin_port: int | None = Field(default=None, ge=0, le=65535, description="none: the one after `port`; 0: off")
    origins: tuple[Origin, ...] = Field(
        default=(),
        description="of web pages that may ask, as https://chat.example; `*`: all. None: all where callers need a key, "
        "else pages of this machine",
    )
