"""The action journal: what is proposed, decided, applied and undone - each transition before the deed it announces."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.chain import statements_hash
from ooda_dagster.core.journal import OPEN, WAITING, State, check_transition
from ooda_dagster.ledger.chains import write_audit, write_journal
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import action, improvement_history, journal


class UnknownActionError(LookupError):
    """No action with that id."""


@dataclass(frozen=True)
class Proposal:
    """An action before it has a life. `spec` is what its action type needs to apply and verify it."""

    action_type: str
    identity: str
    description: str
    statements: list[str]
    undo: list[str]
    undo_kind: str = "exact"
    relation: str = ""
    object_schema: str | None = None
    object_name: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    touches: list[str] = field(default_factory=list)
    predicted: dict[str, Any] = field(default_factory=dict)
    priority: int | None = None
    risk: str = "low"
    dangerous: bool = False
    hypothesis_id: str | None = None
    analysis_id: str | None = None


@dataclass(frozen=True)
class Action:
    """A row of the journal's head; see `ledger.tables.action` for the columns."""

    action_id: str
    target: str
    action_type: str
    identity: str
    state: State
    description: str
    hypothesis_id: str | None
    analysis_id: str | None
    priority: int | None
    risk: str
    dangerous: bool
    relation: str
    object_schema: str | None
    object_name: str | None
    object_oid: int | None
    spec: dict[str, Any]
    statements: list[str]
    undo: list[str]
    undo_kind: str
    statements_hash: str
    prior_state: dict[str, Any]
    touches: list[str]
    predicted: dict[str, Any]
    change_set_id: str | None
    backend_pid: int | None
    backend_start: datetime | None
    application_name: str | None
    proposed_at: datetime
    proposed_by: str
    decided_at: datetime | None
    decided_by: str | None
    approved_hash: str | None
    expires_at: datetime | None
    rule: str | None
    remedy: str | None
    applying_at: datetime | None
    applied_at: datetime | None
    duration_ms: float | None
    lock_wait_ms: float | None
    outcome: str | None
    outcome_class: str | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    verdict_reason: str | None
    closed_at: datetime | None
    revert_reason: str | None
    reverted_at: datetime | None
    error: str | None
    learned_in: str | None


#: What became of these stands in the improvement history.
_ENDED = (State.KEPT, State.INCONCLUSIVE, State.REVERTED, State.FAILED)
_COLUMNS = [action.c[name] for name in Action.__dataclass_fields__]


def _action(row: Any) -> Action:
    values = dict(row)
    values["state"] = State(values["state"])
    return Action(**values)


class Actions:
    """Actions and their journal."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def propose(self, target: str, proposal: Proposal, *, by: str, now: datetime) -> Action:
        """Enter a proposal; an equal one that waits is renewed instead, an equal one that is being judged returned."""
        digest = statements_hash(proposal.statements, proposal.undo)
        fields = {name: getattr(proposal, name) for name in Proposal.__dataclass_fields__}
        with connection(self._engine) as conn:
            row = insert(action).values(
                action_id=str(uuid.uuid4()),
                target=target,
                state=State.PROPOSED,
                statements_hash=digest,
                proposed_at=now,
                proposed_by=by,
                **fields,
            )
            open_ = sa.text("state in (" + ", ".join(f"'{s}'" for s in sorted(WAITING | OPEN)) + ")")
            # The statements stay, as an approval is bound to them; what is known of the table is renewed with the spec.
            again = ("hypothesis_id", "analysis_id", "description", "spec", "predicted", "priority", "touches")
            renewed = {name: fields[name] for name in again}
            waiting = action.c.state.in_(sorted(WAITING))
            # A person's proposal is theirs: a later cycle that finds the same does not take it over.
            same_author = sa.and_(waiting, action.c.proposed_by == by, action.c.statements_hash == digest)
            found = conn.execute(
                row.on_conflict_do_update(
                    index_elements=["target", "identity"], index_where=open_, set_=renewed, where=same_author
                ).returning(action.c.action_id, sa.literal_column("xmax = 0").label("inserted"))
            ).one_or_none()
            if found is None:
                return self._by_identity(conn, target, proposal.identity)
            if found.inserted:
                first = {"action_id": found.action_id, "from_state": None, "to_state": State.PROPOSED, "actor": by}
                write_journal(conn, target, **first, reason="", detail={"statements_hash": digest})
            return self._get(conn, found.action_id)

    def transition(
        self,
        action_id: str,
        to: State,
        *,
        actor: str,
        reason: str = "",
        detail: dict[str, Any] | None = None,
        audit: str | None = None,
        **columns: Any,
    ) -> Action:
        """Move an action to `to` and write the journal, in one transaction.

        `columns` are set on the action with it; `audit` is the event that the audit gets of it, if any. Raises
        IllegalTransitionError, UnknownActionError.
        """
        with connection(self._engine) as conn:
            before = self._get(conn, action_id, lock=True)
            check_transition(before.state, to)
            change = sa.update(action).where(action.c.action_id == action_id).values(state=to, **columns)
            after = conn.execute(change.returning(*_COLUMNS)).mappings().one()
            moved = {"action_id": action_id, "from_state": before.state, "to_state": to, "actor": actor}
            write_journal(conn, before.target, **moved, reason=reason, detail=detail or {})
            if audit:
                why = {"action_id": action_id, "statements_hash": before.statements_hash, "why": reason}
                write_audit(conn, audit, target=before.target, actor=actor, **why)
            return _action(after)

    def note(self, action_id: str, **columns: Any) -> None:
        """Set columns that are no transition (evidence, a backend's pid)."""
        with connection(self._engine) as conn:
            conn.execute(sa.update(action).where(action.c.action_id == action_id).values(**columns))

    def get(self, action_id: str) -> Action:
        """The action with an id or a unique beginning of one."""
        with connection(self._engine) as conn:
            query = sa.select(*_COLUMNS).where(action.c.action_id.startswith(action_id, autoescape=True)).limit(2)
            rows = conn.execute(query).mappings().all()
            if len(rows) != 1:
                many = "more than one action begins" if rows else "no action begins"
                raise UnknownActionError(f"{many} with {action_id!r}; `ooda actions list` shows them")
            return _action(rows[0])

    def _get(self, conn: sa.Connection, action_id: str, *, lock: bool = False) -> Action:
        query = sa.select(*_COLUMNS).where(action.c.action_id == action_id)
        row = conn.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is None:
            raise UnknownActionError(f"no action {action_id}")
        return _action(row)

    def _by_identity(self, conn: sa.Connection, target: str, identity: str) -> Action:
        query = sa.select(*_COLUMNS).where(
            action.c.target == target, action.c.identity == identity, action.c.state.in_(sorted(WAITING | OPEN))
        )
        return _action(conn.execute(query).mappings().one())

    def list(
        self,
        target: str | None = None,
        *,
        states: Collection[State] | None = None,
        change_set_id: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[Action]:
        """Actions, oldest first, of the newest `limit`; `since` bounds the last change of the target by them."""
        query = sa.select(*_COLUMNS).order_by(action.c.proposed_at.desc(), action.c.action_id.desc()).limit(limit)
        if target is not None:
            query = query.where(action.c.target == target)
        if states is not None:
            query = query.where(action.c.state.in_(sorted(states)))
        if change_set_id is not None:
            query = query.where(action.c.change_set_id == change_set_id)
        if since is not None:
            changed = sa.func.greatest(action.c.applying_at, action.c.reverted_at, action.c.closed_at)
            query = query.where(changed >= since)
        with connection(self._engine) as conn:
            return [_action(row) for row in conn.execute(query).mappings()][::-1]

    def unlearned(self, target: str, analysis_id: str) -> Sequence[Action]:
        """Actions that ended and were reported by no other analysis: a learning that broke off reports them again."""
        ended = sa.or_(action.c.closed_at.is_not(None), action.c.state == State.FAILED)
        mine = sa.or_(action.c.learned_in.is_(None), action.c.learned_in == analysis_id)
        query = sa.select(*_COLUMNS).where(action.c.target == target, ended, mine)
        with connection(self._engine) as conn:
            return [_action(row) for row in conn.execute(query.order_by(action.c.proposed_at)).mappings()]

    def unrecorded(self, target: str) -> Sequence[Action]:
        """Actions that ended and of whose end the improvement history does not know: what should write it died."""
        known = improvement_history
        unknown = known.c.improvement_id.is_(None)
        undone = sa.and_(action.c.state == State.REVERTED, sa.not_(known.c.was_rolled_back))
        query = (
            sa.select(*_COLUMNS)
            .join_from(action, known, known.c.action_id == action.c.action_id, isouter=True)
            .where(action.c.target == target, action.c.state.in_(_ENDED), sa.or_(unknown, undone))
            .order_by(action.c.proposed_at)
        )
        with connection(self._engine) as conn:
            return [_action(row) for row in conn.execute(query).mappings()]

    def learned(self, action_ids: Sequence[str], analysis_id: str | None) -> None:
        """Mark actions as reported by an analysis; None: as news to the next one."""
        with connection(self._engine) as conn:
            conn.execute(sa.update(action).where(action.c.action_id.in_(action_ids)).values(learned_in=analysis_id))

    def history(self, action_id: str) -> Sequence[dict[str, Any]]:
        """The journal of one action, oldest first."""
        query = sa.select(journal).where(journal.c.action_id == action_id).order_by(journal.c.seq)
        with connection(self._engine) as conn:
            return [dict(row) for row in conn.execute(query).mappings()]

    def record_improvement(self, row: dict[str, Any]) -> None:
        """Write or complete an action's row in the improvement history."""
        with connection(self._engine) as conn:
            values = insert(improvement_history).values(improvement_id=row["action_id"], **row)
            updated = {k: values.excluded[k] for k in row if k not in ("action_id", "target", "started_at")}
            conn.execute(values.on_conflict_do_update(index_elements=["improvement_id"], set_=updated))

    def improvements(self, target: str | None = None, top: int = 20) -> Sequence[dict[str, Any]]:
        """The improvement history, newest first."""
        order = improvement_history.c.completed_at.desc().nulls_first()
        query = sa.select(improvement_history).order_by(order).limit(top)
        if target is not None:
            query = query.where(improvement_history.c.target == target)
        with connection(self._engine) as conn:
            return [dict(row) for row in conn.execute(query).mappings()]
