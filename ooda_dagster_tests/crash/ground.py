"""Two small servers that may die, a network that may be cut, and what is seen of them from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from ooda_dagster.cli.app import app
from ooda_dagster.config.servers import ACT_ROLE, make_roles
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.actions.stage import Stage, make_stage
from ooda_dagster_tests.crash.proxy import Proxy
from ooda_dagster_tests.crash.scenarios import Scenario
from ooda_dagster_tests.support import Database, dsn_of, wait_until

#: What was committed outlives a kill: the kernel has it. Nobody else works here.
_MORTAL = {
    "shared_buffers": "16MB",
    "max_connections": 40,
    "synchronous_commit": "on",
    "autovacuum": "off",
    # Of sessions that fell silent before they said how long they wait themselves.
    "tcp_keepalives_idle": 2,
    "tcp_keepalives_interval": 1,
    "tcp_keepalives_count": 1,
    "tcp_user_timeout": "2s",
}
_IMPATIENT = {
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "1",
    "tcp_user_timeout": "2000",
}
_ACTION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: The server writes it when a statement has ended well, before it answers.
_ENDED = re.compile(r"LOG:  duration: \S+ ms  (?:statement|execute [^:]*): (.*) /\* ooda action (\S+) \*/\s*$", re.S)
_NEXT_ENTRY = re.compile(r"\n(?=\d{4}-\d\d-\d\d )")

#: Everything of the user's schemas that a change of ours could touch. Text, without oids.
_CATALOGUE = """
with relation as (
    select c.* from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
)
select concat_ws(' | ', 'relation', oid::regclass, relkind, relpersistence, relowner::regrole, reloptions)
from relation
union all
select concat_ws(' | ', 'column', attrelid::regclass, attname, atttypid::regtype, attnotnull, attisdropped, attoptions,
    attstattarget) from pg_attribute where attrelid in (select oid from relation) and attnum > 0
union all
select concat_ws(' | ', 'index', indexrelid::regclass, pg_get_indexdef(indexrelid), indisvalid, indisready, indislive)
from pg_index where indrelid in (select oid from relation)
union all
select concat_ws(' | ', 'statistics', stxnamespace::regnamespace, stxname, pg_get_statisticsobjdef(oid), stxstattarget,
    stxowner::regrole) from pg_statistic_ext
union all
select concat_ws(' | ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated)
from pg_constraint where conrelid in (select oid from relation)
union all
select concat_ws(' | ', 'comment', pg_describe_object(classoid, objoid, objsubid), description)
from pg_description where objoid >= 16384
"""

_SESSIONS = """
select application_name, state, query from pg_stat_activity
where pid <> pg_backend_pid() and (application_name like 'ooda/%' or state like 'idle in transaction%')
"""
_LOCKS = """
select l.locktype, l.mode, a.application_name from pg_locks l left join pg_stat_activity a using (pid)
where l.pid is distinct from pg_backend_pid() and (l.locktype = 'advisory' or l.relation >= 16384)
"""


@dataclass
class Ground:
    """The target's server, the ledger's, and a proxy before each."""

    home: Path
    server: Cluster
    ledger_server: Cluster
    to_server: Proxy
    to_ledger: Proxy
    database: Database
    ledger: Ledger
    #: By action type: the catalogue of a change that nothing disturbed.
    after: dict[str, frozenset[str]] = field(default_factory=dict)
    #: By name: lives that nothing disturbed (`recorded.Recorded`).
    recorded: dict[str, Any] = field(default_factory=dict)

    def stage(self, scenario: Scenario) -> Stage:
        """An empty database with `orders`, and a target that the ledger did not know."""
        stage = make_stage(self.database, self.ledger, self.home)
        if scenario.prepare:
            self.database.execute(scenario.prepare, dsn=self.database.app)
        scenario.known(stage)
        return stage

    def through_proxies(self, stage: Stage, *, connect_timeout_s: int = 10) -> Stage:
        """The same, for a worker whose network may be cut, or fall silent."""
        observe, act, ledger_dsn = (
            _through(proxy, dsn, connect_timeout_s)
            for proxy, dsn in (
                (self.to_server, self.database.observe),
                (self.to_server, self.database.act),
                (self.to_ledger, dsn_of(self.ledger)),
            )
        )
        target = PostgresTarget(stage.loop.name, observe, act)
        ledger = Ledger(ledger_dsn)
        return Stage(self.database, replace(stage.loop, target=target, ledger=ledger))

    def heal(self) -> None:
        """Start again what was killed, let through what was cut."""
        for cluster in (self.server, self.ledger_server):
            if not cluster.running:
                cluster.start()
        for proxy in (self.to_server, self.to_ledger):
            proxy.release()
            proxy.mend()

    def recover_by_hand(self, stage: Stage) -> None:
        """`ooda recover`."""
        config = self.home / "crash.toml"
        references = {"OODA_CRASH_LEDGER": dsn_of(self.ledger)}
        references |= {"OODA_CRASH_OBSERVE": self.database.observe, "OODA_CRASH_ACT": self.database.act}
        config.write_text(
            '[ledger]\nurl = "env:OODA_CRASH_LEDGER"\n'
            f'[target.{stage.loop.name}]\nmode = "auto"\n'
            'observe = "env:OODA_CRASH_OBSERVE"\nact = "env:OODA_CRASH_ACT"\n'
        )
        ran = CliRunner().invoke(app, ["recover", "--config", str(config)], env=references)
        assert ran.exit_code == 0, f"{ran.output} {ran.exception!r} {ran.stderr}"

    # ------------------------------------------------------------------ what is seen

    def catalogue(self, scenario: Scenario) -> frozenset[str]:
        """All that may differ, one text each. Ids of actions are left out: each life has another."""
        rows = self.database.execute(_CATALOGUE)
        if scenario.state:
            rows += [(" | ".join(map(str, ("state", *row))),) for row in self.database.execute(scenario.state)]
        return frozenset(_ACTION_ID.sub("<id>", row[0]) for row in rows)

    def log_end(self) -> int:
        return self.server.log_file.stat().st_size

    def ended(self, since: int) -> list[str]:
        """Statements of actions that ended well since a size of the server's log."""
        with self.server.log_file.open("rb") as file:
            file.seek(since)
            text = file.read().decode(errors="replace")
        found = (_ENDED.search(entry) for entry in _NEXT_ENTRY.split(text))
        return [f"{match[1]} [{match[2]}]" for match in found if match]

    def assert_quiet(self) -> None:
        """No session of ours is left, none idle in a transaction, no lock; a backend takes a moment to go."""
        for dsn, sessions in (
            (self.database.superuser, _SESSIONS),
            (dsn_of(self.ledger), _SESSIONS.replace("'ooda/%'", "'ooda/nothing'")),  # ours is open, and idle
        ):
            with psycopg.connect(dsn, autocommit=True) as connection:
                for query in (sessions, _LOCKS):
                    left: list[tuple[object, ...]] = []

                    def gone(query: str = query, left: list[tuple[object, ...]] = left) -> bool:
                        left[:] = connection.execute(trusted(query)).fetchall()
                        return not left

                    try:
                        wait_until(gone, timeout_s=5)
                    except AssertionError:
                        raise AssertionError(f"left behind: {left}") from None


@contextmanager
def make_ground(home: Path) -> Iterator[Ground]:
    """Makes both servers, and removes them."""
    with ExitStack() as stack:
        servers: list[Cluster] = []
        for name, preload in (("doomed", ("pg_stat_statements",)), ("doomed-ledger", ())):
            cluster = Cluster(home / "clusters", name, durable=False, preload=preload, settings=_MORTAL)
            stack.callback(cluster.destroy)
            cluster.start()
            servers.append(cluster)
        server, ledger_server = servers
        make_roles(server)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(trusted(f"alter role {ACT_ROLE} set log_min_duration_statement = 0"))
        database = Database(server, "doomed")
        database.create()
        ledger_server.create_database("ooda")
        ledger = Ledger(ledger_server.dsn("ooda"))
        stack.callback(ledger.close)
        ledger.migrate()
        to_server = stack.enter_context(Proxy(lambda: server.port))
        to_ledger = stack.enter_context(Proxy(lambda: ledger_server.port))
        yield Ground(home, server, ledger_server, to_server, to_ledger, database, ledger)


def _through(proxy: Proxy, dsn: str, connect_timeout_s: int) -> str:
    """Where a network falls silent, a worker of the tests gives it up sooner than within a minute."""
    url = (
        make_url(dsn).set(port=proxy.port).update_query_dict({**_IMPATIENT, "connect_timeout": str(connect_timeout_s)})
    )
    return url.render_as_string(hide_password=False)
