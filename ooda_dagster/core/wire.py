"""How messages look on the wire: names, moments, and what every part of one has in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel, to_pascal


def iso(moment: datetime) -> str:
    """UTC, ISO 8601 with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[AwareDatetime, PlainSerializer(iso, when_used="json")]
Priority = Annotated[int, Field(ge=1, le=5)]


class Body(BaseModel):
    """Named in camelCase, as messages are."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_camel, extra="ignore")


class Item(BaseModel):
    """Named in PascalCase, as the rows of a message are."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_pascal, extra="ignore")
