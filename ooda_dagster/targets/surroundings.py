"""What else is going on around a target, as values: others' work on a table, standbys and slots, disks, partitions."""

from __future__ import annotations

from dataclasses import dataclass

from ooda_dagster.core.identifiers import qualified


@dataclass(frozen=True)
class Work:
    """Somebody builds an index (on any database of the server), or has or wants a lock that keeps a build away.

    pid: 0 is a prepared transaction. `what`: "build", "holds <mode>" or "waits for <mode>". Texts are empty where they
    cannot be seen.
    """

    pid: int
    what: str
    schema: str | None
    table: str | None
    database: str | None
    application_name: str
    backend_type: str
    wraparound: bool
    age_s: float

    @property
    def yields(self) -> bool:
        """Autovacuum that the server ends for whoever waits for its lock longer than deadlock_timeout."""
        return self.backend_type == "autovacuum worker" and not self.wraparound


@dataclass(frozen=True)
class Standby:
    """Who receives the write-ahead log. Numbers are None where they cannot be seen, or nothing is to be told.

    `lag_s`: replay behind the primary, as last measured; `xmin_age`: transactions back to what it holds by
    hot_standby_feedback, which stops vacuum and no build.
    """

    pid: int
    name: str
    state: str | None
    lag_bytes: float | None
    lag_s: float | None
    xmin_age: int | None


@dataclass(frozen=True)
class Slot:
    """A replication slot. `safe_bytes`: what may be written until it is lost; None: without a limit."""

    name: str
    active: bool
    wal_status: str | None
    safe_bytes: float | None
    retained_bytes: float | None
    xmin_age: int | None


@dataclass(frozen=True)
class Replication:
    """Standbys and slots of this server; `in_recovery`: it is a standby itself, and its primary's cannot be seen."""

    in_recovery: bool
    standbys: tuple[Standby, ...] = ()
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Tablespace:
    """Where an index is written ("index") or sorted ("sort"), outside the server's own directory. Bytes may be None."""

    use: str
    name: str
    free_bytes: int | None
    total_bytes: int | None


@dataclass(frozen=True)
class Partition:
    """A table of a partition tree, the root among them at level 0. kind: as in `core.catalogue.Table`."""

    schema: str
    name: str
    kind: str
    owner: str
    level: int
    parent: tuple[str, str] | None

    @property
    def key(self) -> tuple[str, str]:
        return self.schema, self.name

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)


@dataclass(frozen=True)
class Attached:
    """An index of a tree of partitioned indexes, its root among them."""

    oid: int
    schema: str
    name: str
    table_schema: str
    table: str
    valid: bool
    comment: str | None
    bytes: int
    scans: int
    parent_oid: int | None

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)

    @property
    def table_key(self) -> tuple[str, str]:
        return self.table_schema, self.table
