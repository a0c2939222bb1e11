"""Does who calls ooda.request_analysis() get a cycle, within its rights, once, and without a way to more?"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import dagster as dg
import psycopg
import pytest

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.sensors.requests import make_requests
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, config_of, tick_sensor
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.support import Database
from ooda_dagster_tests.targets.ground import Role, login_role

_SQL = (files("ooda_dagster.cli") / "templates" / "requests.sql").read_text()
_MAY = ("usage on schema ooda", "execute on function ooda.request_analysis(double precision)")


class Asked:
    """The sensor, ticked by hand, and who asks."""

    def __init__(self, database: Database, ooda: Ooda, instance: dg.DagsterInstance) -> None:
        self.database, self.ooda, self.instance = database, ooda, instance
        self.sensor = make_requests()
        self.repository = build_definitions(ooda.config).get_repository_def()

    def install(self) -> None:
        self.database.execute(_SQL)

    def tick(self) -> list[dg.RunRequest]:
        data = tick_sensor(self.sensor, self.ooda, self.instance, repository_def=self.repository)
        self.said = data.skip_message or ""
        return list(data.run_requests or [])

    def ask(self, hours: str = "48", dsn: str | None = None) -> int:
        return self.database.execute(f"select ooda.request_analysis({hours})", dsn=dsn)[0][0]

    def register(self) -> datetime:
        """The target, known and due in half an hour."""
        self.ooda.loop(NAME)
        at = datetime.now(UTC) + timedelta(minutes=30)
        self.ooda.ledger.cycles.request(NAME, at, "nothing changed")
        return at

    @property
    def timer(self) -> tuple[datetime, str, dict[str, object]]:
        ((at, reason, body),) = ask(self.ooda.ledger, "select deliver_at, reason, body from ooda.analyze_queue")
        return at, reason, body


@pytest.fixture
def asked(database: Database, ledger: Ledger, instance: dg.DagsterInstance) -> Iterator[Asked]:
    ooda = Ooda(config_of(database, ledger))
    yield Asked(database, ooda, instance)
    ooda.ledger.close()


@pytest.fixture
def role(database: Database) -> Iterator[Role]:
    with login_role(database) as made:
        yield made


# ---------------------------------------------------------------------- the sensor


def test_a_call_pulls_the_timer_to_now_with_its_lookback_and_starts_one_run(asked: Asked) -> None:
    asked.install()
    asked.register()
    assert asked.tick() == []
    asked.ask()
    before = datetime.now(UTC)
    (request,) = asked.tick()
    at, reason, body = asked.timer
    assert before <= at <= datetime.now(UTC)
    told = dict.fromkeys(("triggerReason", "reason"), "postgres asked for it")
    assert (reason, body) == ("postgres asked for it", {"lookbackHours": 48, "requestedBy": "postgres", **told})
    assert request.partition_key == NAME
    assert (request.tags["ooda/due_key"], request.tags["ooda/trigger"]) == (f"{NAME}@{at.isoformat()}", "request")
    assert asked.tick() == []
    assert asked.said == "nobody asked"
    assert asked.timer[0] == at


def test_several_calls_are_one_cycle_over_the_longest_lookback(asked: Asked) -> None:
    asked.install()
    asked.register()
    for hours in ("2", "100", "5"):
        asked.ask(hours)
    assert len(asked.tick()) == 1
    assert asked.timer[2]["lookbackHours"] == 100


def test_a_call_that_commits_after_a_later_one_is_not_lost(asked: Asked) -> None:
    asked.install()
    asked.register()
    with psycopg.connect(asked.database.superuser) as late:
        late.execute("select ooda.request_analysis(7)")
        asked.ask()
        assert len(asked.tick()) == 1
        late.commit()
    asked.register()
    assert len(asked.tick()) == 1
    assert asked.timer[2]["lookbackHours"] == 7


def test_a_call_on_a_table_that_was_made_anew_is_not_taken_for_an_old_one(asked: Asked) -> None:
    """As where the database was created again: its ids begin at 1 again."""
    asked.install()
    asked.register()
    assert asked.ask() == 1
    assert len(asked.tick()) == 1
    asked.database.execute("drop schema ooda cascade")
    asked.install()
    asked.register()
    assert asked.ask("7") == 1
    assert len(asked.tick()) == 1
    assert asked.tick() == []
    assert asked.timer[2]["lookbackHours"] == 7


def test_keys_of_calls_that_are_shown_no_more_are_forgotten(asked: Asked) -> None:
    asked.install()
    asked.register()
    asked.ask()
    asked.tick()
    ask(asked.ooda.ledger, "update ooda.request_seen set bucket_start = bucket_start - interval '10 days'")
    asked.register()
    asked.ask()
    asked.tick()
    assert ask(
        asked.ooda.ledger, "select count(*), sum((select count(*) from unnest(keys))) from ooda.request_seen"
    ) == [(1, 1)]


@pytest.mark.parametrize("running", [True, False])
def test_a_call_waits_while_a_cycle_runs_or_has_just_begun(asked: Asked, running: bool) -> None:
    asked.install()
    due = asked.register()
    began = datetime.now(UTC) - timedelta(seconds=600 if running else 20)
    asked.ooda.ledger.cycles.begin(NAME, due_at=began, now=began, trigger="t", mode="propose", run_id=str(uuid.uuid4()))
    if not running:
        ask(asked.ooda.ledger, "update ooda.cycle set state = 'finished'")
    asked.ask()
    assert asked.tick() == []
    assert "1 requests wait, as a cycle " in asked.said
    assert asked.timer[0] == due
    ask(asked.ooda.ledger, "update ooda.cycle set state = 'finished', started_at = now() - interval '2 minutes'")
    assert len(asked.tick()) == 1


def test_a_target_without_the_function_is_asked_once_and_not_named(asked: Asked) -> None:
    asked.tick()
    assert asked.said == "nobody asked"
    asked.install()
    asked.ask()
    assert asked.tick() == []  # not asked again for some minutes
    asked.sensor = make_requests()
    assert len(asked.tick()) == 1


def test_a_target_that_cannot_be_made_known_does_not_stop_the_others(asked: Asked) -> None:
    asked.install()
    asked.register()
    asked.ask()
    unset = TargetConfig("a", asked.ooda.config.targets[NAME].observe, act=Reference("env", "OODA_TEST_NOT_SET"))
    asked.ooda.config = Config(asked.ooda.config.ledger, {"a": unset, **asked.ooda.config.targets})
    (request,) = asked.tick()
    assert request.partition_key == NAME
    assert asked.tick() == []
    assert "a: the environment variable OODA_TEST_NOT_SET is not set" in asked.said


def test_forty_targets_of_which_most_are_dead_fit_into_a_tick(asked: Asked) -> None:
    asked.install()
    asked.register()
    asked.ask()
    hangs = Reference.literal("postgresql://nobody@10.255.255.1:5432/none")
    refuses = Reference.literal("postgresql://nobody@127.0.0.1:1/none")
    more = {f"t{n}": TargetConfig(f"t{n}", hangs if n < 10 else refuses) for n in range(39)}
    asked.ooda.config = Config(asked.ooda.config.ledger, {**more, **asked.ooda.config.targets})
    began = time.monotonic()
    (request,) = asked.tick()
    assert request.partition_key == NAME
    assert time.monotonic() - began < 15
    began = time.monotonic()
    asked.tick()
    assert time.monotonic() - began < 2
    assert "t20: 127.0.0.1:1/none does not answer" in asked.said


# ---------------------------------------------------------------------- the function


def test_public_may_neither_call_nor_read(asked: Asked, role: Role) -> None:
    asked.install()
    for text in ("select ooda.request_analysis()", "select * from ooda.analysis_request"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            asked.database.execute(text, dsn=role.dsn)
    role.grant("usage on schema ooda")
    for text in ("select ooda.request_analysis()", "select * from ooda.analysis_request"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            asked.database.execute(text, dsn=role.dsn)


def test_who_may_call_may_not_write_and_is_named(asked: Asked, role: Role) -> None:
    asked.install()
    role.grant(*_MAY)
    assert asked.ask("3", dsn=role.dsn) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asked.database.execute("delete from ooda.analysis_request", dsn=role.dsn)
    found = asked.database.execute("select requested_by, lookback_hours from ooda.analysis_request")
    assert found == [(role.name, 3.0)]


def test_the_observing_role_reads_and_cannot_call(asked: Asked) -> None:
    asked.install()
    dsn = asked.database.observe
    assert asked.database.execute("select count(*) from ooda.analysis_request", dsn=dsn) == [(0,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asked.ask(dsn=dsn)


def test_a_caller_s_search_path_leads_the_function_nowhere(asked: Asked, role: Role) -> None:
    """Functions, operators, types and a table of the caller's that stand in for the ones it uses."""
    asked.install()
    role.grant(*_MAY, f"create, temporary on database {asked.database.name}")
    with psycopg.connect(role.dsn, autocommit=True) as mine:
        mine.execute("create schema evil")
        for name in ("count(anyelement)", "clock_timestamp()"):
            kind = "bigint" if name.startswith("count") else "timestamptz"
            mine.execute(
                f"create function evil.{name} returns {kind} language plpgsql as "
                "'begin execute ''create table public.pwned()''; return null; end'".encode()
            )
        mine.execute(
            "create function evil.gt(double precision, integer) returns boolean language plpgsql as "
            "'begin execute ''create table public.pwned()''; return true; end'"
        )
        mine.execute("create operator evil.> (function = evil.gt, leftarg = double precision, rightarg = integer)")
        mine.execute("create temporary table analysis_request (like pg_class)")
        mine.execute("set search_path = pg_temp, evil, pg_catalog")
        row = mine.execute("select ooda.request_analysis(24)").fetchone()
        assert row == (1,)
    assert asked.database.execute("select to_regclass('public.pwned')") == [(None,)]
    assert asked.database.execute("select count(*) from ooda.analysis_request") == [(1,)]


@pytest.mark.parametrize("hours", ["0", "-1", "8761", "'nan'", "'infinity'", "null"])
def test_hours_that_are_none_are_refused(asked: Asked, hours: str) -> None:
    asked.install()
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="above 0 and at most 8760"):
        asked.ask(hours)


def test_a_role_that_asks_too_often_is_refused_by_name_and_others_are_not(asked: Asked, role: Role) -> None:
    asked.install()
    role.grant(*_MAY)
    for _ in range(6):
        asked.ask("1", dsn=role.dsn)
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match=f"role {role.name} asked for 6 analyses"):
        asked.ask("1", dsn=role.dsn)
    asked.ask()


def test_old_requests_are_pruned_by_the_next(asked: Asked) -> None:
    asked.install()
    asked.ask()
    asked.database.execute("update ooda.analysis_request set requested_at = now() - interval '8 days'")
    assert asked.ask() == 2
    assert asked.database.execute("select request_id from ooda.analysis_request") == [(2,)]


def test_the_script_can_be_run_again_and_refuses_what_is_not_its_own(asked: Asked, role: Role) -> None:
    asked.install()
    asked.install()
    asked.database.execute(f"alter table ooda.analysis_request owner to {role.name}")
    with pytest.raises(psycopg.errors.RaiseException, match="belongs to another role"):
        asked.install()
