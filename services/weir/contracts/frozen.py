"""What models of contracts have in common."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Never changes, and knows every field that it is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
