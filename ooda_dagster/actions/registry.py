"""The action types that exist."""

from __future__ import annotations

from ooda_dagster.actions.base import ActionType
from ooda_dagster.actions.create_index import CreateIndex

TYPES: dict[str, ActionType] = {action_type.name: action_type for action_type in (CreateIndex(),)}
