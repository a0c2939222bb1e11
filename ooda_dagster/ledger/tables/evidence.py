"""What verdicts were computed from, and the files that were written of it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from ooda_dagster.ledger.tables.actions import action, verification
from ooda_dagster.ledger.tables.base import metadata, moment
from ooda_dagster.ledger.tables.cycles import target

#: What a look that decided or closed a change set was computed from: rollups are compacted later. body: see
#: core/question.py, compressed; it holds numbers and fingerprints, and no text of a statement.
judged = Table(
    "judged",
    metadata,
    Column("change_set_id", Text, ForeignKey(verification.c.change_set_id, ondelete="CASCADE"), primary_key=True),
    Column("look", Integer, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    moment("judged_at", nullable=False),
    Column("digest", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_judged_target", "target", "judged_at"),
)

#: The newest file of an action. journal_seq: the newest row of its change set's journal that it tells of.
evidence_file = Table(
    "evidence_file",
    metadata,
    Column("action_id", Text, ForeignKey(action.c.action_id, ondelete="CASCADE"), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    moment("tried_at", nullable=False),
    Column("path", Text),  # null: none was written, for the reason in `error`
    Column("digest", Text),  # of the file
    Column("bytes", BigInteger),
    Column("journal_seq", BigInteger),
    Column("error", Text),  # of the newest try
    Index("ix_evidence_file_target", "target"),
)
