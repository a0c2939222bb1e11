"""Writes which rows are of a concept into a table of ours in the target; exact undo: its own rows are deleted.

The rows are read a page at a time, read-only and as the owner of the embeddings, and put to the nearest centroid here,
as counting does. What is sent to the server are ids, as parameters: neither the journal nor a statement holds one, and
no number of a centroid leaves the ledger. The table belongs to the role that acts; the last undo drops it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from ooda_dagster.actions.base import Applied, Presence, Say, SupersededError, UndoKind
from ooda_dagster.actions.members import Given, why_stale
from ooda_dagster.actions.sending import own_comment, send, signed
from ooda_dagster.actions.tries import briefly
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.concept_binding import (
    DROP,
    NAME,
    SCHEMA,
    TABLE,
    Binding,
    array_of,
    columns,
    grants,
    mapping_of,
)
from ooda_dagster.core.identifiers import OWN_COMMENT, quote_literal
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.ledger.concepts import MISSING, Concept
from ooda_dagster.targets.base import Acting, MissingRightError, Observing, RefusedError, TargetError
from ooda_dagster.targets.embeddings import ConceptTable

_SAY_EVERY_S = 5.0
#: The server's code for "other objects depend on it".
_DEPENDED_ON = "2BP01"


class BindConcept:
    """Implements `actions.given.Needing`. spec: a Binding's fields."""

    name = str(HypothesisType.CONCEPT)
    undo_kind: UndoKind = "exact"
    waits_for_snapshots = False

    def __init__(self, known: Given | None = None) -> None:
        self._known = known

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        wanted = Binding(**spec)
        values = {
            "action_type": self.name,
            "identity": wanted.identity,
            "description": f"Bind {wanted.new_rows:,} rows of {wanted.source} to concept {wanted.concept_id}",
            "statements": [wanted.create, wanted.grant, wanted.insert],
            "undo": [wanted.delete, DROP],
            "undo_kind": self.undo_kind,
            "relation": wanted.source,
            "object_schema": SCHEMA,
            "object_name": wanted.concept_id,
            "spec": spec,
            "risk": "medium",
            "dangerous": True,
        }
        return Proposal(**{**values, **fields})

    # ------------------------------------------------------------------ before the deed

    def knowing(self, action: Action, ledger: Ledger, say: Say) -> BindConcept:
        """With the concepts of the target; for `actions.given`."""
        return BindConcept(_given(action, ledger, say))

    @property
    def known(self) -> Given:
        """Raises SupersededError where no embeddings of the target were looked at."""
        if self._known is None:
            raise SupersededError("the ledger knows no concepts of this target any more")
        return self._known

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        """Is it still the concept that was approved? Raises SupersededError with what became of it."""
        wanted, known = Binding(**action.spec), self.known
        if not settings.concepts.bind:
            raise RefusedError("binding is switched off (concepts.bind)")
        concept = _current(wanted, known)
        if concept.state == MISSING:
            raise RefusedError(f"the last discovery did not find concept {wanted.concept_id}; the next one may")
        if why := _read_otherwise(wanted, known, settings):
            raise SupersededError(why)
        there = _seen(action, session)
        if there.oid is not None and there.columns != wanted.columns:
            raise RefusedError(
                f"{TABLE} has columns ({', '.join(there.columns)}) and should have ({', '.join(wanted.columns)}); "
                "undo what is bound by other ids, or rename a table that is not ours"
            )

    def ready(self, action: Action, session: Acting, settings: Settings) -> None:
        """Can the role that acts read the embeddings, and write the table? For `actions.given`."""
        wanted = Binding(**action.spec)
        with session.embeddings(settings.concepts, role=wanted.owner) as table:
            found = (table.oid, table.id_type, table.owner) if table is not None else None
        if found is None and session.relation_name(wanted.source_oid) is None:
            raise SupersededError(f"{wanted.source} does not exist any more")
        if found is None:
            raise MissingRightError(f"{wanted.source} cannot be read. {session.grant_for(wanted.owner)}")
        if found != (wanted.source_oid, wanted.id_type, wanted.owner):
            raise SupersededError(f"{wanted.source} is another table now, of another owner, or its ids of another type")
        there = _seen(action, session)
        if there.oid is not None:
            _check_own(there, session)
        if there.oid is None and not there.may_create:
            raise MissingRightError(f"{TABLE} cannot be made: {' '.join(grants(session.role, [wanted.owner]))}")

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        """table: our table's oid, None where this action makes it. shape: digest of the concepts."""
        return {"table": _seen(action, session).oid, "shape": self.known.digest}

    # ------------------------------------------------------------------ the deed

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        return self.adopt(action, session, settings)

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Go on from wherever an earlier try, or a dead worker, ended."""
        wanted, known, sent = Binding(**action.spec), self.known, list[str]()
        stale = why_stale(wanted, known.wanted(wanted.concept_id), known.events)
        if why := stale or _read_otherwise(wanted, known, settings):
            raise TargetError(why)
        there = self._table(action, session, settings, sent)
        if there.bound and known.digest != action.prior_state["shape"]:  # what is bound is of another drawing
            sent += self._delete(action, session, settings)
            there = _seen(action, session)
        resumed = there.bound
        written = self._write(action, session, settings, there.last if wanted.resumable else None)
        sent.append(wanted.insert)
        there = _seen(action, session)
        if not there.bound:
            raise TargetError(f"no row of {wanted.source} is in concept {wanted.concept_id}, or all are bound already")
        return Applied(there.oid, sent, {"rows": written, "resumed": resumed, "table": TABLE})

    def _table(self, action: Action, session: Acting, settings: Settings, sent: list[str]) -> ConceptTable:
        """Make our table unless it is there; then open it to the owner of the embeddings, and sign it."""
        wanted, there = Binding(**action.spec), _seen(action, session)
        if there.oid is None:
            _send(action, session, settings, wanted.create)
            sent.append(wanted.create)
            there = _seen(action, session)
        if there.columns != wanted.columns:
            raise SupersededError(f"somebody made another table {TABLE} meanwhile: it is theirs")
        _check_own(there, session)
        if there.comment is None and action.prior_state["table"] is None:
            comment = f"COMMENT ON TABLE {TABLE} IS {quote_literal(own_comment(action))}"
            for statement in (wanted.grant, comment):  # the comment last: with it, the table is as it should be
                sent.append(statement)
                _send(action, session, settings, statement)
        return there

    def _write(self, action: Action, session: Acting, settings: Settings, after: str | None) -> int:
        """Bind the rows behind an id, page by page; how many were not bound before."""
        wanted, known = Binding(**action.spec), self.known
        began = told_at = time.monotonic()
        read = written = 0
        while True:
            now = time.monotonic()
            if now - began > settings.acting.build_timeout_s:
                raise TargetError("it took longer than acting.build_timeout_s")
            if now - told_at > _SAY_EVERY_S:
                told_at = now
                known.say(f"{read:,} rows of {wanted.source} read, {written:,} bound to {wanted.concept_id}")
            with session.embeddings(settings.concepts, role=wanted.owner) as table:
                if table is None or table.oid != wanted.source_oid:
                    raise TargetError(f"{wanted.source} was dropped, replaced or closed to us meanwhile")
                page = table.page(after, limit=wanted.page_rows)
            if ids := known.members(page, wanted.concept_id):
                written += _send(action, session, settings, wanted.insert, action.action_id, array_of(ids))
            after = page.last or after
            read += page.n
            if page.n < wanted.page_rows:
                return written

    # ------------------------------------------------------------------ and back

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        if _seen(action, session).oid is None:
            return Applied(None, [], {"note": f"{TABLE} was gone already"})
        sent = self.remove_debris(action, session, settings)
        return Applied(None, sent, {} if sent else {"note": "its rows were gone already"})

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        """Delete the action's rows; with the last row of all, drop the table where one of ours made it."""
        sent = self._delete(action, session, settings)
        there = _seen(action, session)
        if not (there.empty and _ours(action, there)):
            return sent
        try:
            briefly(session, signed(action, DROP), role=None, policy=settings.acting)
        except TargetError as error:
            if getattr(error.__cause__, "sqlstate", None) != _DEPENDED_ON:
                raise
            return sent  # a view of somebody's is on it: it stays, and is empty
        return [*sent, DROP]

    def _delete(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        statement, sent = Binding(**action.spec).delete, list[str]()
        began = time.monotonic()
        while (there := _seen(action, session)).bound or not (there.readable and there.known):
            if not there.known:
                raise RefusedError(f"columns of {TABLE} were changed: which rows are of this action cannot be told")
            if not there.readable:
                raise MissingRightError(f"rows of {TABLE} cannot be deleted by {session.role}: it belongs to another")
            _check_own(there, session)
            if time.monotonic() - began > settings.acting.build_timeout_s:
                raise TargetError("it took longer than acting.build_timeout_s")
            _send(action, session, settings, statement, action.action_id)
            sent = [statement]
        return sent

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        """By its rows. Where this role may not read them, the table stands for them.

        While it is announced, an empty table that it made is its, too; after an undo that failed, the last one's.
        """
        there = _seen(action, session)
        if there.oid is None:
            return Presence.ABSENT
        if not there.known:
            return Presence.FOREIGN
        kept = there.bound or not there.readable
        match action.state:
            case State.APPLYING:
                return Presence.PARTIAL if kept or (there.empty and _made(action, there)) else Presence.ABSENT
            case State.REVERTED:
                return Presence.BROKEN if there.bound else Presence.ABSENT
            case State.REVERT_FAILED if not kept and there.empty and _ours(action, there):
                return Presence.BROKEN
            case _:
                return Presence.COMPLETE if kept else Presence.ABSENT

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        """No statement that is judged reads it."""
        return {}


def binding_spec(wanted: Binding) -> dict[str, Any]:
    """A Binding as the ledger keeps it."""
    return asdict(wanted)


def _current(wanted: Binding, known: Given) -> Concept:
    concept = known.wanted(wanted.concept_id)
    if why := why_stale(wanted, concept, known.events):
        raise SupersededError(why)
    assert concept is not None
    return concept


def _read_otherwise(wanted: Binding, known: Given, settings: Settings) -> str:
    if known.table == wanted.source and mapping_of(settings.concepts) == wanted.mapping:
        return ""
    return f"embeddings are read otherwise now than when {wanted.concept_id} was approved"


def _given(action: Action, ledger: Ledger, say: Say) -> Given | None:
    book, concept_id = ledger.concepts, action.spec["concept_id"]
    progress = book.progress(action.target)
    if progress is None:
        return None
    model, dimensions = progress.space
    events = [e for e in book.events(action.target, concept_id=concept_id) if e["at"] >= action.proposed_at]
    table = str(progress.identity.get("table"))
    return Given(table, model, dimensions, book.list(action.target), events, say)


def _seen(action: Action, session: Observing | Acting) -> ConceptTable:
    return session.concept_table(
        SCHEMA, NAME, kept=columns(), concept_id=action.spec["concept_id"], action_id=action.action_id
    )


def _check_own(there: ConceptTable, session: Acting) -> None:
    """Before anything is written: code of others in a table would run with the rights of this role."""
    if not there.own:
        raise MissingRightError(
            f"{TABLE} is not a plain table of {session.role}'s own, without triggers, rules, checks, defaults and "
            "functions in indexes: nothing is written into another. Drop what was added to it; where it is not ours, "
            "rename it"
        )


def _send(action: Action, session: Acting, settings: Settings, statement: str, *values: str) -> int:
    """As the role that acts; it names nothing of the user's. How many rows it wrote."""
    return send(action, session, settings, statement, values=values, pinned=True)


def _made(action: Action, there: ConceptTable) -> bool:
    """Whether this action made the table: it signed it, or had not come to that."""
    unsigned = there.comment is None and "table" in action.prior_state and action.prior_state["table"] is None
    return unsigned or there.comment == own_comment(action)


def _ours(action: Action, there: ConceptTable) -> bool:
    return _made(action, there) or (there.comment or "").startswith(OWN_COMMENT)
