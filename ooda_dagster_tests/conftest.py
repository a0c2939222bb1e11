"""What tests stand on: real servers, started once a session; a fresh database and a fresh ledger for each test."""

from __future__ import annotations

import os
import random
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from _pytest.terminal import TerminalReporter

from ooda_dagster.config.servers import ledger_cluster, make_roles, target_cluster
from ooda_dagster.embedded import Cluster, stop_started
from ooda_dagster.ledger import Ledger
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database, fresh_ledger, keep_autovacuum_away, room

# A shell without job control starts what runs in the background deaf to Ctrl-C, and deafness is inherited: what tests
# start must hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Why a test may be skipped. Any other reason fails the session: what was not run was not shown.
ALLOWED_SKIPS = (
    "no PostgreSQL 15 server on this machine",
    "no Chromium on this machine",
    "only root can switch users",
    "root may read everything",
    "hypopg is not installed for the server",
    "no PgBouncer on this machine",
)


#: What tests draw by.
SEED = "OODA_SEED"


def pytest_configure() -> None:
    """Draw the session's seed, unless one is given; worker processes inherit it."""
    os.environ.setdefault(SEED, str(random.randrange(1_000_000)))


def pytest_report_header() -> str:
    return f"{SEED}={os.environ[SEED]} draws the same points of matrices"


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Path]:
    """`$OODA_HOME` of the session, where the server user can reach it; nothing is left of it."""
    for name in ("DAGSTER_HOME", "OODA_CONFIG", "OODA_DAGSTER_PG_URL", "OODA_DAGSTER_DIR", "OODA_RUNNING"):
        os.environ.pop(name, None)
    with room("test") as directory:
        os.environ["OODA_HOME"] = str(directory)
        yield directory
        stop_started()


@pytest.fixture(scope="session")
def target_server(home: Path) -> Iterator[Cluster]:
    """The embedded target's server, with the service's role and our two."""
    cluster = target_cluster(home)
    cluster.start()
    make_roles(cluster)
    keep_autovacuum_away(cluster)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def ledger_server(home: Path) -> Iterator[Cluster]:
    """The ledger's server, with a migrated template. Tests kill it, but no machine: it need not wait for the disk."""
    cluster = ledger_cluster(home)
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(trusted(f"alter system set {setting} = off"))
        connection.execute("select pg_reload_conf()")
    cluster.create_database("ledger_template")
    template = Ledger(cluster.dsn("ledger_template"))
    template.migrate()
    template.close()
    yield cluster
    cluster.stop()


@pytest.fixture
def database(target_server: Cluster) -> Iterator[Database]:
    """An empty database of the service's role, with pg_stat_statements; dropped afterwards."""
    made = Database(target_server, f"test_{uuid.uuid4().hex[:12]}")
    made.create()
    yield made
    made.drop()


@pytest.fixture
def ledger(ledger_server: Cluster) -> Iterator[Ledger]:
    """An empty ledger; dropped afterwards."""
    with fresh_ledger(ledger_server) as opened:
        yield opened


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A skip whose reason is not on the list is a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped for a reason that is not on the list in conftest.py: {reason}"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """What was shown, by area: passed, failed, skipped and seconds."""
    rows: dict[str, list[float]] = {}
    for column, outcomes in enumerate((("passed",), ("failed", "error"), ("skipped",))):
        for report in (r for outcome in outcomes for r in terminalreporter.stats.get(outcome, ())):
            parts = report.nodeid.split("::")[0].split("/")
            row = rows.setdefault(parts[1].removesuffix(".py") if len(parts) > 1 else parts[0], [0, 0, 0, 0])
            row[column] += 1
            row[3] += getattr(report, "duration", 0.0)
    terminalreporter.section("results by area")
    terminalreporter.line(f"{'area':16}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}")
    for area, (passed, failed, skipped, seconds) in sorted(rows.items()):
        terminalreporter.line(f"{area:16}{passed:8.0f}{failed:8.0f}{skipped:8.0f}{seconds:9.1f}")
