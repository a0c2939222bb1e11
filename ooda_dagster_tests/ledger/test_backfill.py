"""Is a ledger of before the chains chained by its migration, in the order in which it was written?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command

from ooda_dagster.core.journal import State
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.database import _migrations, connection
from ooda_dagster_tests.ledger.ground import ask, proposal
from ooda_dagster_tests.ledger.test_chains import live
from ooda_dagster_tests.support import wait_until

_ACTIONS = """
insert into ooda.action (action_id, target, action_type, identity, state, description, statements_hash, proposed_at,
    proposed_by)
select t || g, t, 'x', 'i' || g, 'denied', '', '4f53cda18c2baa0c', now(), 'policy'
from generate_series(1, :n) g, unnest(array['t', 'u']) t
"""
_JOURNAL = """
insert into ooda.journal (action_id, target, from_state, to_state, actor, reason, detail)
select t || g, t, case s when 2 then 'proposed' end, case s when 1 then 'proposed' else 'denied' end, 'policy',
    'réason ' || g, jsonb_build_object('n', g / 7.0, 'big', 1e20, 'list', jsonb_build_array(g, null, 'x'))
from generate_series(1, :n) g, generate_series(1, 2) s, unnest(array['t', 'u']) t order by g, s, t
"""
_EVENTS = """
insert into ooda.audit_event (target, actor, event, detail)
select 't', 'ann', 'old', jsonb_build_object('n', g) from generate_series(1, :n) g
"""


@pytest.fixture
def old(ledger_server: Cluster) -> Iterator[Ledger]:
    """A ledger as version 0006 made it, with two targets."""
    name = f"old_{uuid.uuid4().hex[:12]}"
    ledger_server.create_database(name)
    opened = Ledger(ledger_server.dsn(name))
    with _migrations() as config, connection(opened.engine) as conn:
        conn.exec_driver_sql("create schema ooda")
        config.attributes["connection"] = conn
        command.upgrade(config, "0006")
    ask(opened, "insert into ooda.target (name, kind, mode) values ('t', 'postgres', 'propose'), ('u', 'x', 'auto')")
    yield opened
    opened.close()
    ledger_server.drop_database(name)


def test_old_rows_are_chained_and_new_ones_follow_them(old: Ledger) -> None:
    for text in (_ACTIONS, _JOURNAL, _EVENTS):
        ask(old, text, n=1500)  # more than one batch
    ask(old, "update ooda.action set statements_hash = (select encode(sha256('[[], []]'), 'hex'))")
    old.migrate()
    found = old.trail.verify()
    assert (found.broken, found.rows) == ([], {"audit": 1500, "journal/t": 3000, "journal/u": 3000})
    order = "select array_agg({} order by {}) from ooda.journal where target = 't'"
    assert ask(old, order.format("seq", "seq")) == ask(old, order.format("seq", "position"))
    live(old, "new")
    old.cycles.register("t", kind="postgres", mode="approve", now=old.trail.events(limit=1)[0].at)
    found = old.trail.verify()
    assert (found.broken, found.rows["journal/t"], found.rows["audit"]) == ([], 3006, 1502)
    ask(old, "update ooda.journal set reason = 'x' where target = 'u' and position = 2999")
    assert [(b.chain, b.position) for b in old.trail.verify().broken] == [("journal/u", 2999)]


def test_an_empty_old_ledger_is_migrated_and_works(old: Ledger) -> None:
    old.migrate()
    live(old, "first")
    assert old.trail.verify().rows == {"audit": 1, "journal/t": 6}
    assert old.trail.verify().intact


def test_the_way_back_works_too(old: Ledger) -> None:
    old.migrate()
    live(old, "first")
    old.cycles.forget("t")
    action = old.actions.propose("u", proposal(), by="ann", now=old.trail.events(limit=1)[0].at)
    with _migrations() as config, connection(old.engine) as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, "0006")
    assert ask(old, "select action_id, to_state from ooda.journal") == [(action.action_id, State.PROPOSED)]
    old.migrate()
    assert old.trail.verify().intact


def test_a_writer_of_the_old_version_that_is_at_work_is_waited_for(old: Ledger) -> None:
    """What it commits late is chained too."""
    with ThreadPoolExecutor(1) as pool:
        with connection(old.engine) as conn:
            conn.exec_driver_sql(
                "insert into ooda.audit_event (target, actor, event, detail) values ('t', 'a', 'x', '{}')"
            )
            migrated = pool.submit(old.migrate)
            waiting = (
                "select 1 from pg_locks where not granted and mode = 'AccessExclusiveLock' "
                "and relation = 'ooda.audit_event'::regclass"
            )
            wait_until(lambda: ask(old, waiting), what="the migration's wait")
            locked = (
                "select relation::regclass::text from pg_locks where granted and mode = 'AccessExclusiveLock' and "
                "database = (select oid from pg_database where datname = current_database())"
            )  # all of them, before anything is changed
            assert {name for (name,) in ask(old, locked)} == {"ooda.target", "ooda.action", "ooda.journal"}
        migrated.result(20)
    found = old.trail.verify()
    assert (found.intact, found.rows) == (True, {"audit": 1})
