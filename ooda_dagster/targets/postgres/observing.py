"""A session that looks at a PostgreSQL database. The server refuses writes in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from ooda_dagster.core.catalogue import Catalogue, Index, Table
from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.identifiers import qualified
from ooda_dagster.core.plan_log import LogPosition, PlanLogPart
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.settings import Statistics
from ooda_dagster.core.statistics import PairSample, RareSample, TableStatistics
from ooda_dagster.targets.base import (
    Activity,
    AnalysisRequest,
    Capabilities,
    Counters,
    Progress,
    TargetError,
    Transaction,
)
from ooda_dagster.targets.embeddings import ConceptTable
from ooda_dagster.targets.postgres.analysis_requests import read_analysis_requests
from ooda_dagster.targets.postgres.arrow import ArrowLogin
from ooda_dagster.targets.postgres.capabilities import read_capabilities
from ooda_dagster.targets.postgres.concept_table import read_concept_table
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.embeddings import PostgresEmbeddingTable, find_embedding_table
from ooda_dagster.targets.postgres.plans import estimated_plan, planner_settings, read_plan_log
from ooda_dagster.targets.postgres.queries import marked, query
from ooda_dagster.targets.postgres.read_catalogue import index_of, read_catalogue
from ooda_dagster.targets.postgres.requests import PostgresRequestTable, find_request_table
from ooda_dagster.targets.postgres.statistics import planned_rows, read_table_statistics, sample_pairs, sample_rare
from ooda_dagster.targets.postgres.surroundings import (
    free_space,
    read_attached,
    read_partitions,
    read_replication,
    read_work,
)
from ooda_dagster.targets.surroundings import Attached, Partition, Replication, Work

#: More entries than this are not read at once; pg_stat_statements keeps 5,000 by default.
_MAX_ENTRIES = 50_000
_MAX_RUNNING = 200
_COLUMNS = [
    "query_id", "user_id", "toplevel", "since", "calls", "total_ms", "total_ms_sq", "rows", "blocks_hit", "blocks_read",
    "temp_blocks", "wal_bytes",
]  # fmt: skip


class PostgresObserving:
    """Implements `targets.base.Observing`."""

    def __init__(self, connection: psycopg.Connection[Any], login: ArrowLogin | None = None) -> None:
        self.connection = connection
        self._login = login

    @cached_property
    def _capabilities(self) -> Capabilities:
        try:
            return read_capabilities(self.connection)
        except psycopg.Error as error:
            raise translate(error, "looking at the server") from error

    def capabilities(self) -> Capabilities:
        return self._capabilities

    def _statements_schema(self) -> sql.Identifier:
        seen = self.capabilities()
        if not seen.statements_ok:
            why = next((b for b in seen.blind_spots if b.what == "statement statistics"), None)
            raise TargetError(f"no statement statistics: {why.why}. {why.remedy}" if why else "no statement statistics")
        return sql.Identifier(seen.extensions["pg_stat_statements"])

    def counters(self) -> Counters:
        """All entries of this database. Raises TargetError where pg_stat_statements cannot be read."""
        schema = self._statements_schema()
        seen = self.capabilities()
        # stats_since came with version 1.11 of the extension, in PostgreSQL 17: it tells an entry that was evicted.
        try:
            since = sql.SQL("extract(epoch from stats_since)" if self._has_since(schema) else "null::float8")
            epoch = self.connection.execute(query("read_epoch").format(schema=schema)).fetchone()
            rows = self.connection.execute(
                query("read_counters").format(schema=schema, since=since),
                {"database": seen.database_oid, "limit": _MAX_ENTRIES},
            ).fetchall()
        except psycopg.Error as error:
            raise translate(error, "reading statement statistics") from error
        seen_rows = [row for row in rows if row.query_id is not None]
        frame = pd.DataFrame(seen_rows, columns=pd.Index(_COLUMNS))
        frame["total_ms_sq"] = frame["total_ms_sq"].astype(float)
        frame["since"] = frame["since"].astype(float)
        frame["wal_bytes"] = frame["wal_bytes"].astype(float)
        reset = epoch.stats_reset.isoformat() if epoch and epoch.stats_reset else None
        server = {"stats_reset": reset, "evictions": epoch.dealloc if epoch else 0}
        identity = {"started_at": seen.started_at.isoformat(), **seen.identity}
        return Counters(datetime.now(UTC), {**server, **identity}, frame, hidden=len(rows) - len(seen_rows))

    def _has_since(self, schema: sql.Identifier) -> bool:
        """The server may be newer than its extension, which is not updated by itself."""
        if self.capabilities().major < 17:
            return False
        probe = marked("select * from {schema}.pg_stat_statements(false) limit 0").format(schema=schema)
        return any(column.name == "stats_since" for column in self.connection.execute(probe).description or ())

    def texts(self, query_ids: Sequence[int]) -> dict[int, str]:
        """Normalised texts, without any literal; ids whose text the role may not see are left out."""
        schema = self._statements_schema()
        parameters = {"database": self.capabilities().database_oid, "query_ids": list(query_ids)}
        try:
            rows = self.connection.execute(query("read_texts").format(schema=schema), parameters).fetchall()
        except psycopg.Error as error:
            raise translate(error, "reading statement texts") from error
        return {r.query_id: scrubbed(r.text) for r in rows if r.text and r.text != "<insufficient privilege>"}

    def running(self) -> list[tuple[int, str]]:
        """(query id, text) of what client sessions execute or executed last, with literals: for one table only."""
        try:
            rows = self.connection.execute(query("read_running"), {"limit": _MAX_RUNNING}).fetchall()
        except psycopg.Error as error:
            raise translate(error, "reading sessions") from error
        return [(row.query_id, row.text) for row in rows]

    def may_log_in(self, role: str) -> bool | None:
        """Whether a role's right to log in stands; None for a role that this server does not have."""
        asked = marked("select r.rolcanlogin as may from pg_catalog.pg_roles r where r.rolname = %s")
        try:
            row = self.connection.execute(asked, (role,)).fetchone()
        except psycopg.Error as error:
            raise translate(error, "reading roles") from error
        return bool(row.may) if row else None

    def catalogue(self, statistics_for: Collection[tuple[str, str]] | None = None) -> Catalogue:
        try:
            return read_catalogue(self.connection, statistics_for)
        except psycopg.Error as error:
            raise translate(error, "reading the catalogue") from error

    def index(self, schema: str, name: str) -> Index | None:
        return find_index(self.connection, schema, name)

    def relation_name(self, oid: int) -> str | None:
        """What the relation of an oid is called now; None where there is none."""
        return find_name(self.connection, oid)

    def activity(self) -> Activity:
        return read_activity(self.connection)

    def statistics(self, tables: Collection[tuple[str, str]]) -> dict[tuple[str, str], TableStatistics]:
        return read_table_statistics(self.connection, tables)

    def planned_rows(self, text: str) -> float | None:
        return planned_rows(self.connection, text)

    def estimated_plan(self, text: str, *, timeout_s: float) -> dict[str, Any]:
        return estimated_plan(self.connection, text, timeout_s)

    def planner_settings(self) -> str:
        return planner_settings(self.connection)

    def plan_log(self, after: LogPosition | None, *, most_bytes: int) -> PlanLogPart:
        return read_plan_log(self.connection, after, most_bytes)

    def sample_pairs(self, table: Table, columns: Sequence[str], policy: Statistics) -> list[PairSample]:
        return sample_pairs(self.connection, table, columns, policy)

    def sample_rare(self, table: Table, column: str, policy: Statistics) -> RareSample:
        return sample_rare(self.connection, table, column, policy)

    def replication(self) -> Replication:
        return read_replication(self.connection)

    def work_on(self, tables: Collection[tuple[str, str]], *, own: Collection[int]) -> tuple[Work, ...]:
        return read_work(self.connection, tables, own)

    def partitions(self, schema: str, table: str) -> tuple[Partition, ...]:
        return read_partitions(self.connection, schema, table)

    def attached(self, schema: str, name: str) -> tuple[Attached, ...]:
        return read_attached(self.connection, schema, name)

    def request_table(self, mapped: Requests, *, tenant: str | None = None) -> PostgresRequestTable | None:
        """The configured table of inference requests; None where there is none for us. tenant: only its rows."""
        return find_request_table(self.connection, mapped, tenant=tenant, login=self._login)

    def embedding_table(self, mapped: Concepts) -> PostgresEmbeddingTable | None:
        """The configured table of embeddings; None where there is none for us."""
        return find_embedding_table(self.connection, mapped)

    def concept_table(
        self, schema: str, name: str, *, kept: Collection[str], concept_id: str, action_id: str
    ) -> ConceptTable:
        return read_concept_table(self.connection, schema, name, kept=kept, concept_id=concept_id, action_id=action_id)

    def analysis_requests(self, seen: str) -> list[AnalysisRequest] | None:
        """Requests for an analysis that are not in `seen` (an int8multirange); None where nobody can make any."""
        return read_analysis_requests(self.connection, seen)

    def progress(self, pid: int) -> Progress:
        """Of CREATE INDEX; a backend that is gone has no phase."""
        try:
            row = self.connection.execute(query("read_progress"), {"pid": pid}).fetchone()
        except psycopg.Error as error:
            raise translate(error, "reading progress") from error
        if row is None:
            return Progress(None, None, False)
        total, done = (row.tuples_total, row.tuples_done) if row.tuples_total else (row.blocks_total, row.blocks_done)
        return Progress(row.phase, done / total if total else None, row.wait_event_type == "Lock")


def find_index(connection: psycopg.Connection[Any], schema: str, name: str) -> Index | None:
    """One index by name, valid or not."""
    try:
        row = connection.execute(query("read_indexes"), {"schema": schema, "name": name}).fetchone()
    except psycopg.Error as error:
        raise translate(error, "reading the catalogue") from error
    return index_of(row) if row and row.definition is not None else None


def find_name(connection: psycopg.Connection[Any], oid: int) -> str | None:
    """`schema.name` of a relation, whatever it was called before."""
    asked = marked(
        "select n.nspname as schema, c.relname as name from pg_catalog.pg_class c "
        "join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = %s"
    )
    try:
        row = connection.execute(asked, (oid,)).fetchone()
    except psycopg.Error as error:
        raise translate(error, "reading the catalogue") from error
    return qualified(row.schema, row.name) if row else None


def read_activity(connection: psycopg.Connection[Any]) -> Activity:
    """Load now."""
    try:
        row = connection.execute(query("read_activity")).fetchone()
    except psycopg.Error as error:
        raise translate(error, "reading activity") from error
    assert row is not None
    transactions = tuple(Transaction(**t) for t in row.transactions)
    free, total = free_space(connection, row.data_directory)
    return Activity(
        active_sessions=row.active_sessions,
        waiting_sessions=row.waiting_sessions,
        transactions=transactions,
        database_bytes=row.database_bytes,
        disk_free_bytes=free,
        disk_total_bytes=total,
        longest_s=max((t.age_s for t in transactions), default=0.0),
        details={"prepared_transactions": row.prepared_transactions, "active_slots": row.active_slots},
    )
