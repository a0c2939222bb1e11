"""Do the rows that are acted on say what the journal and the audit say? Each finding: chain, position, what."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from ooda_dagster.core.chain import AUDIT, journal_chain, statements_hash

_BATCH = 2000


def heads_that_disagree(conn: sa.Connection, target: str | None) -> Iterator[tuple[str, int | None, str]]:
    """Actions against the journal, modes and pauses against the audit; of one target, or of all."""
    for row in conn.execute(_ACTIONS.execution_options(yield_per=_BATCH), {"target": target}):
        chain, name = journal_chain(row.target), f"action {row.action_id[:8]}"
        if row.to_state is None:
            yield chain, None, f"{name} ({row.state}) has no row in the journal"
            continue
        if row.state != row.to_state:
            yield chain, row.position, f"{name} is {row.state} in its own row, and {row.to_state} in the journal"
        if row.proposed_hash not in (None, statements_hash(row.statements, row.undo)):
            yield chain, row.first, f"the statements of {name} are not those that were proposed"
        if row.approved_hash is not None and row.decided_by != row.approved_by:
            yield (
                chain,
                row.position,
                f"{name} is approved by {row.decided_by} in its own row, and by {row.approved_by or 'nobody'} in the "
                "journal",
            )
    for row in conn.execute(_LOST, {"target": target}):
        what = f"the row of action {row.action_id[:8]} is gone, and nobody forgot the target"
        yield journal_chain(row.target), row.position, what
    for row in conn.execute(_TARGETS, {"target": target}):
        if row.said_mode is not None and row.mode != row.said_mode:
            yield (
                AUDIT,
                row.mode_position,
                f"the mode of {row.name} is {row.mode}, and was {row.said_mode} in the audit",
            )
        said = "paused" if row.said_pause == "paused" else "resumed"  # a forgotten target begins anew
        paused = "paused" if row.paused_at else "resumed"
        if said != paused:
            yield AUDIT, row.pause_position, f"{row.name} is {paused}, and was {said} in the audit"


_ACTIONS = sa.text(
    """
    select a.action_id, a.target, a.state, a.statements, a.undo, a.decided_by, a.approved_hash,
        last.position, last.to_state, first.position as first, first.detail ->> 'statements_hash' as proposed_hash,
        approved.actor as approved_by
    from ooda.action a
    left join lateral (
        select position, to_state from ooda.journal where action_id = a.action_id order by seq desc limit 1
    ) last on true
    left join lateral (
        select position, detail from ooda.journal where action_id = a.action_id order by seq limit 1
    ) first on true
    left join lateral (
        select actor from ooda.journal where action_id = a.action_id and to_state = 'approved'
        order by seq desc limit 1
    ) approved on a.approved_hash is not null
    where cast(:target as text) is null or a.target = :target
    """
)

_LOST = sa.text(
    """
    select j.target, j.action_id, max(j.position) as position from ooda.journal j
    where (cast(:target as text) is null or j.target = :target)
        and not exists (select from ooda.action a where a.action_id = j.action_id)
        and not exists (
            select from ooda.audit_event e where e.target = j.target and e.event = 'forgotten' and e.at >= j.at
        )
    group by j.target, j.action_id order by j.target, position
    """
)

_TARGETS = sa.text(
    """
    select t.name, t.mode, t.paused_at, mode.detail ->> 'after' as said_mode, mode.position as mode_position,
        pause.event as said_pause, pause.position as pause_position
    from ooda.target t
    left join lateral (
        select detail, position from ooda.audit_event
        where target = t.name and event = 'mode' order by position desc limit 1
    ) mode on true
    left join lateral (
        select event, position from ooda.audit_event
        where target = t.name and event in ('paused', 'resumed', 'forgotten') order by position desc limit 1
    ) pause on true
    where cast(:target as text) is null or t.name = :target
    """
)
