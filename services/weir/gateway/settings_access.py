"""Settings of keys, limits, usage and audit."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

RedisUrl = Annotated[SecretStr, Field(description="redis://... for limits that several workers or replicas share")]


class AccessSettings(BaseModel):
    """Who may ask, and what is written down. Nothing needs to be set on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: SecretStr | None = Field(
        default=None, description="`sqlite:///FILE` or `postgresql://USER@HOST/NAME`; none: `<home>/gateway.sqlite`"
    )
    redis: RedisUrl | None = None
    allow_anonymous: bool = Field(
        default=False, description="serve callers without a key; without it only a gateway on loopback that has no keys"
    )
    fail_open: bool = Field(
        default=False, description="when the database or Redis is away, let in what cannot be checked; see the guide"
    )
    audit_days: int = Field(default=30, ge=0, le=3650, description="how long audit rows are kept; 0: none are written")
    audit_key_file: Path | None = Field(
        default=None, description="secret of the HMACs in audit rows, for replicas; none: `<home>/audit.key`, made once"
    )
    admin_token: SecretStr | None = Field(
        default=None, min_length=16, description="of `/admin` routes; none: they answer loopback callers alone"
    )
