"""Starts the servers that the embedded default needs: the ledger's, with a database for us and one for Dagster."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

from ooda_dagster.config.file import Config
from ooda_dagster.config.home import home_directory
from ooda_dagster.config.references import split_embedded
from ooda_dagster.embedded import Cluster

#: Roles of the embedded target.
APP_ROLE, OBSERVE_ROLE, ACT_ROLE = "inference_app", "ooda_observe", "ooda_act"

_LEDGER, _OURS, _DAGSTERS, _TARGET = "ledger", "ooda", "dagster", "target"
#: Small: it serves one machine's loop. Dagster's processes hold several connections each.
_LEDGER_SETTINGS = {"shared_buffers": "64MB", "max_connections": 200, "jit": "off"}

#: The embedded target is small, and a throw-away.
_TARGET_SETTINGS: dict[str, str | int] = {
    "shared_buffers": "512MB",  # the working set fits, as it should on a tuned server
    "work_mem": "16MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "30min",
    "random_page_cost": "1.1",  # flash
    "max_parallel_workers_per_gather": 0,  # two cores serve traffic, loop and measurement: plans that fan out waver
    "jit": "off",
    "autovacuum_naptime": "15s",
    "pg_stat_statements.max": 2000,
}


def ledger_cluster(home: Path | None = None) -> Cluster:
    """The cluster of the embedded ledger."""
    return Cluster((home or home_directory()) / "clusters", _LEDGER, preload=(), settings=_LEDGER_SETTINGS)


def start_ledger(config: Config) -> bool:
    """Start the ledger's server if it is an embedded one; True where this call started it."""
    if config.ledger.kind != "embedded":
        return False
    cluster = ledger_cluster()
    started = cluster.start()
    for name in (_OURS, _DAGSTERS):
        cluster.ensure_database(name)
    if started:
        _relax(cluster)
    return started


def _relax(cluster: Cluster) -> None:
    """Dagster's log may lose its last moments in a power cut; our journal may not."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(f"alter database {_DAGSTERS} set synchronous_commit = off".encode())


def target_cluster(home: Path | None = None) -> Cluster:
    """The cluster of the embedded target."""
    return Cluster((home or home_directory()) / "clusters", _TARGET, settings=_TARGET_SETTINGS, durable=False)


def start_target(config: Config) -> None:
    """Start the embedded target where the configuration names it, with its two roles and an empty database at least."""
    for target in config.targets.values():
        if target.observe.kind != "embedded":
            continue
        _, name, database = split_embedded(target.observe.value)
        if name == _TARGET:
            cluster = target_cluster()
            cluster.start()
            make_roles(cluster)
            if not cluster.database_exists(database):
                cluster.create_database(database)
                with psycopg.connect(cluster.dsn(database), autocommit=True) as connection:
                    connection.execute("create extension pg_stat_statements")


def make_roles(cluster: Cluster) -> None:
    """The service's role, which owns its tables, and ours: one that looks, one that may become the owner.

    In the embedded server all have the superuser's generated password.
    """
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        known = {row[0] for row in connection.execute("select rolname from pg_roles")}
        for role in (APP_ROLE, OBSERVE_ROLE, ACT_ROLE):
            if role not in known:
                connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
            connection.execute(
                sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(cluster.password))
            )
        names = {"observe": OBSERVE_ROLE, "act": ACT_ROLE, "app": APP_ROLE}
        roles = {key: sql.Identifier(role) for key, role in names.items()}
        connection.execute(sql.SQL("grant pg_monitor, pg_read_all_data to {observe}").format(**roles))
        connection.execute(sql.SQL("grant pg_monitor to {act}").format(**roles))
        connection.execute(sql.SQL("grant {app} to {act} with inherit false, set true").format(**roles))


def dagster_dsn() -> str:
    """Where Dagster keeps its runs in the embedded default; the driver is named for SQLAlchemy."""
    return ledger_cluster().dsn(_DAGSTERS).replace("postgresql://", "postgresql+psycopg2://", 1)
