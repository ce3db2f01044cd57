"""Settings of the second tier: a classifier that reads prompts beside the rules."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from weir.contracts.request import MODEL_NAME


class SecondTierSettings(BaseModel):
    """Off unless it is given. `block` waits for the verdict before the first token goes out; `flag` never waits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(pattern=r"^https?://[^\s/]+/?$", description="a node that serves the classifier")
    model: str = Field(pattern=MODEL_NAME)
    action: Literal["flag", "block"] = "flag"
    threshold: float | None = Field(default=None, ge=0, le=1, description="none: the model's own")
    budget_s: float = Field(default=0.25, gt=0, le=10, description="seconds from the prompt's filter to the verdict")
    fail_open: bool = Field(default=False, description="`block` alone: without a verdict in time the prompt passes")
