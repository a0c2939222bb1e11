"""The situation that policy looks at, from the ledger and one look at the catalogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ooda_dagster.actions.permits import standing
from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.change_types import group_of
from ooda_dagster.core.journal import State
from ooda_dagster.core.prioritise import Ended, failures
from ooda_dagster.core.situation import Situation, UndoneGroup
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.opened import open_changes

POLICY = "policy"
#: What failed, was undone or rejected: it is not tried again for a while.
OVER = (State.REVERTED, State.FAILED, State.REJECTED)
#: An action that is one of these came to an end.
ENDED = (State.KEPT, State.INCONCLUSIVE, State.REVERTED, State.REVERT_FAILED, State.FAILED)


def situation(loop: Loop) -> Situation:
    """What policy looks at before it decides. Raises TargetUnreachableError where the target does not answer."""
    now, policy = loop.clock(), loop.settings.acting
    remembered = timedelta(hours=max(policy.failure_memory_h, policy.type_memory_h, 24))
    actions = loop.ledger.actions.list(loop.name, since=now - remembered)
    approved = loop.ledger.actions.list(loop.name, states=(State.APPROVED,))
    with loop.target.observing("decide") as session:
        catalogue = session.catalogue()
    first, _ = loop.ledger.rollups.coverage(loop.name, now - timedelta(days=30), now)
    # What policy approved earlier and finds again is counted with this cycle's.
    planned = [a for a in approved if a.decided_by != POLICY]
    own = _own_bytes(catalogue, planned)
    found = standing(loop.target, loop.ledger, now)
    found.warm_h = (now - first).total_seconds() / 3600 if first else 0.0
    found.open_changes = open_changes(loop)
    found.acted_this_hour, found.acted_today = (_begun(actions, now, timedelta(hours=h)) for h in (1, 24))
    found.heap_bytes = catalogue.heap_bytes
    found.own_index_bytes = sum(own.values())
    found.heap_bytes_of = {t.label: t.bytes for t in catalogue.tables.values()}
    found.own_index_bytes_of = own
    found.indexes_of = {t.label: len(t.indexes) for t in catalogue.tables.values()}
    over = {a.action_id: at for a in actions if a.state in OVER and (at := a.reverted_at or a.closed_at)}
    found.undone_at = {a.identity: over[a.action_id] for a in actions if a.action_id in over}
    found.undone_groups = undone_groups(actions, over)
    found.failures = failures(ended(actions))
    return found


def ended_actions(ledger: Ledger, name: str, *, since: datetime) -> list[Ended]:
    """What became of our own actions of a target that ended since."""
    return ended(ledger.actions.list(name, states=ENDED, since=since))


def ended(actions: Sequence[Action]) -> list[Ended]:
    """Those of them that are ours and came to an end."""
    return [
        Ended(a.action_type, a.closed_at, a.outcome, a.state == State.FAILED)
        for a in actions
        if a.state in ENDED and a.closed_at is not None and a.hypothesis_id is not None
    ]


def _begun(actions: Sequence[Action], now: datetime, within: timedelta) -> int:
    return sum(1 for a in actions if a.applying_at and now - a.applying_at < within)


def undone_groups(actions: Iterable[Action], over: Mapping[str, datetime]) -> list[UndoneGroup]:
    """Those of statistics on several columns. over: action_id → when it failed, was undone or rejected."""
    ended = [(a, group_of(a.action_type, a.spec)) for a in actions if a.action_id in over]
    return [UndoneGroup(a.relation, group, over[a.action_id]) for a, group in ended if group]


def _own_bytes(catalogue: Catalogue, planned: Sequence[Action]) -> dict[str, int]:
    """Relation → bytes of our indexes on it, with those that people approved."""
    found: dict[str, int] = defaultdict(int)
    for table in catalogue.tables.values():
        found[table.label] += sum(index.bytes for index in table.indexes if index.ours)
    for action in planned:
        found[action.relation] += int(action.predicted.get("bytes") or 0)
    return dict(found)
