"""What groups of settings are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

#: Bounded, so that no time is later than a datetime can tell.
Positive = Annotated[float, Field(gt=0, le=1_000_000)]
PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Expression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Group(BaseModel):
    """Settings that belong together. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
