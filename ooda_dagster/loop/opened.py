"""What is being judged now, and must be left alone?"""

from __future__ import annotations

from ooda_dagster.core.journal import OPEN
from ooda_dagster.core.policy import OpenChange
from ooda_dagster.loop.context import Loop


def open_changes(loop: Loop) -> list[OpenChange]:
    """Actions of the target that were begun and not judged to the end."""
    return [
        OpenChange(a.action_id, a.change_set_id or a.action_id, frozenset(a.touches), a.relation, a.action_type)
        for a in loop.ledger.actions.list(loop.name, states=OPEN)
    ]
