"""What a target can be asked, as small protocols, one per capability.

The loop knows targets by these alone; `postgres/` implements them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import pandas as pd

from ooda_dagster.core.catalogue import Catalogue, Index, Table
from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.plan_log import LogPosition, PlanLogPart
from ooda_dagster.core.planner_statistics import PlannerStatistics
from ooda_dagster.core.request_page import Page
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.core.settings import Statistics
from ooda_dagster.core.statistics import PairSample, RareSample, TableStatistics
from ooda_dagster.targets.embeddings import ConceptTable, EmbeddingTable
from ooda_dagster.targets.request_rollup import Judging
from ooda_dagster.targets.surroundings import Attached, Partition, Replication, Tablespace, Work

#: Takes a line of progress.
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Nobody listens."""


class TargetError(RuntimeError):
    """Something about a target that a person must know."""


class TargetUnreachableError(TargetError):
    """The server does not answer, or does not let us in."""


class LoginRefusedError(TargetUnreachableError):
    """The server answers and does not let this role in."""


class MissingRightError(TargetError):
    """The role may not do what is needed; the message holds the GRANT."""


class RefusedError(TargetError):
    """We do not act, for a reason that is named."""


class LostLockError(TargetError):
    """A statement gave up a lock, or a wait for somebody's snapshot: it may succeed when it is tried again."""


@dataclass(frozen=True)
class Capabilities:
    """What the observing role sees on this server.

    levels: 1 statements, activity and sizes; 2 pg_stats and EXPLAIN of SELECT; 3 the plan log; 4 EXPLAIN of writes and
    extended statistics. extensions: name → schema. `statements_ok`: pg_stat_statements can be read. `local`: asked for
    by a socket or a loopback address, so that nobody is between.
    """

    server_version: int
    database: str
    database_oid: int
    role: str
    superuser: bool
    in_recovery: bool
    levels: frozenset[int]
    extensions: dict[str, str]
    statements_ok: bool
    started_at: datetime
    system_identifier: str | None
    behind_proxy: bool
    encrypted: bool = False
    local: bool = True
    blind_spots: tuple[BlindSpot, ...] = ()

    @property
    def major(self) -> int:
        return self.server_version // 10_000

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this database from another one behind the same name."""
        return {
            "system_identifier": self.system_identifier,
            "database_oid": self.database_oid,
            "server_version": self.server_version,
        }


@dataclass(frozen=True)
class Counters:
    """Statement counters at one moment, cumulative since `epoch` began.

    frame: query_id, user_id, toplevel, since (Unix time when the entry was made, NaN where unknown), calls, total_ms,
    total_ms_sq, rows, blocks_hit, blocks_read, temp_blocks, wal_bytes; one row an entry.
    epoch: stats_reset and evictions of the server.
    hidden: entries of other roles that this role may not tell apart; they are in no row of the frame.
    """

    taken_at: datetime
    epoch: dict[str, Any]
    frame: pd.DataFrame
    hidden: int = 0


@dataclass(frozen=True)
class Transaction:
    """An open transaction of somebody; no text of it, as that may hold literals."""

    pid: int
    age_s: float
    state: str
    application_name: str


@dataclass(frozen=True)
class Activity:
    """Load of the server now. Bytes are None where they cannot be seen."""

    active_sessions: int
    waiting_sessions: int
    transactions: tuple[Transaction, ...]
    database_bytes: int
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    longest_s: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where a backend's statement is: its phase, the share done where the server tells, and whether it waits."""

    phase: str | None
    share: float | None
    waiting: bool


@dataclass(frozen=True)
class AnalysisRequest:
    """Somebody asked for an analysis from inside the database. `key` tells this call from any other."""

    key: int
    requested_at: datetime
    requested_by: str
    lookback_hours: float


class RequestSource(Protocol):
    """Where inference requests are read. `reader`: how single ones come, and what would bring them faster."""

    label: str

    @property
    def reader(self) -> str: ...

    def newest(self, since: datetime, until: datetime, *, limit: int, say: Say = silent) -> pd.DataFrame: ...
    def sample(self, since: datetime, until: datetime, *, rows: int) -> pd.DataFrame: ...
    def totals(self, since: datetime) -> tuple[int, float | None]: ...
    def rolled_up(self, since: datetime, judging: Judging, *, say: Say = silent) -> Page: ...


class RequestTable(RequestSource, Protocol):
    """A target's table of inference requests.

    `numeric`: ids are whole numbers, so that they bound a scan; `storage` changes when the table is emptied.
    """

    storage: str
    numeric: bool

    def highest(self) -> int | None: ...
    def before(self, since: datetime) -> int | None: ...
    def page_by_id(self, open_ids: str, *, limit: int, judging: Judging) -> Page: ...
    def page_by_time(self, since: datetime, until: datetime, *, seen: str, limit: int, judging: Judging) -> Page: ...
    def pending_by_id(self, open_ids: str, *, limit: int) -> int: ...
    def pending_by_time(self, since: datetime, until: datetime, *, limit: int) -> int: ...


class Observing(Protocol):
    """A read-only session. Nothing it does is a write, and the server holds it to that."""

    def capabilities(self) -> Capabilities: ...
    def counters(self) -> Counters: ...
    def texts(self, query_ids: Sequence[int]) -> dict[int, str]: ...
    def running(self) -> list[tuple[int, str]]: ...
    def catalogue(self, statistics_for: Collection[tuple[str, str]] | None = None) -> Catalogue: ...
    def activity(self) -> Activity: ...
    def index(self, schema: str, name: str) -> Index | None: ...
    def statistics(self, tables: Collection[tuple[str, str]]) -> dict[tuple[str, str], TableStatistics]: ...
    def planned_rows(self, text: str) -> float | None: ...
    def estimated_plan(self, text: str, *, timeout_s: float) -> dict[str, Any]: ...
    def planner_settings(self) -> str: ...
    def plan_log(self, after: LogPosition | None, *, most_bytes: int) -> PlanLogPart: ...
    def sample_pairs(self, table: Table, columns: Sequence[str], policy: Statistics) -> list[PairSample]: ...
    def sample_rare(self, table: Table, column: str, policy: Statistics) -> RareSample: ...
    def relation_name(self, oid: int) -> str | None: ...
    def progress(self, pid: int) -> Progress: ...
    def replication(self) -> Replication: ...
    def work_on(self, tables: Collection[tuple[str, str]], *, own: Collection[int]) -> tuple[Work, ...]: ...
    def partitions(self, schema: str, table: str) -> tuple[Partition, ...]: ...
    def attached(self, schema: str, name: str) -> tuple[Attached, ...]: ...
    def embedding_table(self, mapped: Concepts) -> EmbeddingTable | None: ...
    def concept_table(
        self, schema: str, name: str, *, kept: Collection[str], concept_id: str, action_id: str
    ) -> ConceptTable: ...
    def request_table(self, mapped: Requests, *, tenant: str | None = None) -> RequestTable | None: ...
    def may_log_in(self, role: str) -> bool | None: ...
    def analysis_requests(self, seen: str) -> list[AnalysisRequest] | None: ...


class Acting(Protocol):
    """A session that may change the target; only `actions.executor` and `actions.recovery` open one."""

    backend_pid: int
    backend_start: datetime
    application_name: str

    @property
    def role(self) -> str: ...
    def try_lock(self) -> bool: ...
    def claim_server(self) -> None: ...
    def execute(
        self,
        statement: str,
        *,
        role: str | None,
        lock_timeout_s: float,
        timeout_s: float,
        values: Sequence[str] = (),
        pinned: bool = False,
    ) -> int: ...
    def backend_alive(self, pid: int, started: datetime) -> bool: ...
    def cancel(self, pid: int) -> bool: ...
    def index(self, schema: str, name: str) -> Index | None: ...
    def statistics(self, tables: Collection[tuple[str, str]]) -> dict[tuple[str, str], TableStatistics]: ...
    def planner_statistics(self, schema: str, table: str, *, role: str | None, values: bool) -> PlannerStatistics: ...
    def grant_for(self, role: str) -> str: ...
    def relation_name(self, oid: int) -> str | None: ...
    def partitions(self, schema: str, table: str) -> tuple[Partition, ...]: ...
    def attached(self, schema: str, name: str) -> tuple[Attached, ...]: ...
    def tablespaces(self) -> tuple[Tablespace, ...]: ...
    def embeddings(self, mapped: Concepts, *, role: str | None) -> AbstractContextManager[EmbeddingTable | None]: ...
    def concept_table(
        self, schema: str, name: str, *, kept: Collection[str], concept_id: str, action_id: str
    ) -> ConceptTable: ...
    def activity(self) -> Activity: ...


class Target(Protocol):
    """A database."""

    name: str
    kind: str

    @property
    def can_act(self) -> bool: ...
    @property
    def acting_role(self) -> str | None: ...
    def observing(self, phase: str, *, connect_timeout_s: int | None = None) -> AbstractContextManager[Observing]: ...
    def primary(self, phase: str) -> AbstractContextManager[Observing]: ...
    def acting(self, phase: str) -> AbstractContextManager[Acting]: ...
    def catch_up(self, timeout_s: float) -> float | None: ...
