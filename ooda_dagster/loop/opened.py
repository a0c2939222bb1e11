"""What is being judged now, and must be left alone?"""

from __future__ import annotations

from ooda_dagster.core.journal import OPEN
from ooda_dagster.core.policy import OpenChange
from ooda_dagster.loop.context import Loop


def open_changes(loop: Loop) -> list[OpenChange]:
    """Actions of the target that were begun and not judged to the end, with all statements that are judged for them.

    What a person proposed before anything was sampled names none; its verdict is about those on its table all the same.
    """
    actions = loop.ledger.actions.list(loop.name, states=OPEN)
    sets = loop.ledger.verifications.of({a.change_set_id for a in actions if a.change_set_id})
    judged = {v.change_set_id: v.treated for v in sets}
    return [
        OpenChange(
            a.action_id,
            a.change_set_id or a.action_id,
            frozenset((*a.touches, *judged.get(a.change_set_id or "", ()))),
            a.relation,
            a.action_type,
        )
        for a in actions
    ]
