"""Where is the ledger, and is its schema up to date?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from ooda_dagster.core.keep_alive import patience
from ooda_dagster.ledger.tables import SCHEMA

#: Serialises migrations of processes that start together; any constant does.
_MIGRATION_LOCK = 0x6F6F6461


#: Alembic keeps its context in a module: one thread at a time.
_ONE_AT_A_TIME = threading.Lock()

_FORM = "it has the form postgresql://user:password@host:port/database, with @ / : # ? % in them percent-encoded"


class LedgerUnreachableError(RuntimeError):
    """The ledger's database does not answer, or is not of a version that we can read."""


def ledger_url(dsn: str) -> URL:
    """SQLAlchemy URL of a PostgreSQL DSN, with the driver named: the bare form means another one in each SQLAlchemy."""
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError):
        raise ValueError(f"the ledger's URL cannot be read; {_FORM}") from None  # their words quote its parts
    if "@" in f"{url.host}{url.database}":
        raise ValueError(f"the ledger's URL leads nowhere; {_FORM}")
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError("the ledger must be a PostgreSQL database: postgresql://user@host/database")
    return url.set(drivername="postgresql+psycopg")


def create_engine(dsn: str) -> sa.Engine:
    """An engine with a small pool; connections are checked before use, as the server may restart under a daemon."""
    url = ledger_url(dsn)
    engine = sa.create_engine(
        url,
        pool_size=2,
        max_overflow=3,
        pool_pre_ping=True,
        hide_parameters=True,  # an error of a statement quotes them, and a sampled text is one
        connect_args={"application_name": "ooda/ledger", **patience(url.query)},
    )
    event.listen(engine, "handle_error", _note_lost)
    return engine


def _note_lost(context: ExceptionContext) -> None:
    """What fails without a code is not the server's word: the connection is lost, though the driver may not know."""
    error = context.original_exception
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        context.is_disconnect = True


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest version. Safe to call at every start and from several processes at once."""
    with _ONE_AT_A_TIME, _migrations() as config, connection(engine) as conn:
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        conn.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        config.attributes["connection"] = conn
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerUnreachableError(f"the ledger was made by another version of ooda-dagster: {error}") from error


@contextmanager
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction, with an unreachable server told as such."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        conn = engine.connect()
    except OperationalError as error:
        raise LedgerUnreachableError(
            f"the ledger {where} does not answer: {str(error.orig).strip()}. "
            "Is its server running? `ooda dev` and `ooda cycle` start the embedded one."
        ) from error
    try:
        with conn, conn.begin():
            yield conn
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise LedgerUnreachableError(
            f"the connection to the ledger {where} was lost: {str(error.orig).strip()}. "
            "Whether it still wrote that is not known; once it answers, `ooda recover` goes on from what it says."
        ) from error


@contextmanager
def _migrations() -> Iterator[Config]:
    with as_file(files("ooda_dagster.ledger") / "migrations") as directory:
        config = Config()
        config.set_main_option("script_location", str(directory).replace("%", "%%"))
        yield config
