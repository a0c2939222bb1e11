"""Does every writer chain its rows, also many at once, and one that is killed?"""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Ledger, chains
from ooda_dagster_tests.ledger.ground import NOW, ask, proposal, register
from ooda_dagster_tests.support import dsn_of, wait_until


def live(ledger: Ledger, name: str, target: str = "t") -> str:
    """An action from its proposal to its verdict, approved by a person; its id."""
    action = ledger.actions.propose(target, proposal(name), by="ann", now=NOW)
    for state in (State.APPROVED, State.APPLYING, State.APPLIED, State.VERIFYING, State.KEPT):
        person: dict[str, Any] = {"audit": "approved", "decided_by": "ann", "approved_hash": action.statements_hash}
        ledger.actions.transition(action.action_id, state, actor="ann", **(person if state == State.APPROVED else {}))
    return action.action_id


def test_what_was_written_is_found_intact(known: Ledger) -> None:
    live(known, "i1")
    known.audit("rollback", target="t", why="just so")
    found = known.trail.verify()
    assert found.intact
    assert found.rows == {"audit": 3, "journal/t": 6}  # the mode of the target, the approval, the rollback


def test_an_empty_ledger_is_intact(ledger: Ledger) -> None:
    assert ledger.trail.verify().intact
    assert ledger.trail.heads() == []


def test_whatever_a_detail_holds_is_found_as_it_was_written(known: Ledger) -> None:
    detail = {
        "numbers": [1e16, 10**25, 1.5, -0.0, 1e-9, 0.1 + 0.2, 12345678901234567890, True, None],
        "text": 'é\U0001f600\u202e "quoted" \\ \n\x7f',
        "nested": {"b": {"z": 1, "a": [[], {}]}, "tuple": (1, 2)},
        "7": "seven",
    }
    known.audit("odd", target="t", actor="ann ' \" ;--", **detail)
    known.audit("odd keys", target=None, detail={7: "seven", "a": 1})
    assert known.trail.verify().broken == []


def test_many_threads_of_several_targets_chain_without_a_gap_or_a_deadlock(ledger: Ledger) -> None:
    names = [register(ledger, f"t{n}") for n in range(3)]
    ledgers = [Ledger(dsn_of(ledger)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [(ledgers[n % 8], f"i{n}", names[n % 3]) for n in range(48)]
        ids = list(pool.map(lambda job: live(*job), jobs))
    for opened in ledgers:
        opened.close()
    found = ledger.trail.verify()
    assert (len(set(ids)), found.broken) == (48, [])
    assert found.rows == {"audit": 3 + 48, **{f"journal/{name}": 16 * 6 for name in names}}
    times = [row[0] for row in ask(ledger, "select at from ooda.journal where target = 't0' order by position")]
    assert all(earlier <= later for earlier, later in pairwise(times))


def test_processes_that_see_a_target_first_at_once_note_it_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: register(ledger, "new", mode="auto"), range(6)))
    assert ask(ledger, "select event, detail from ooda.audit_event") == [("mode", {"before": None, "after": "auto"})]


def test_a_writer_that_is_killed_leaves_a_valid_chain(ledger: Ledger) -> None:
    """At a random moment, again and again: in the middle of a transaction too."""
    register(ledger)
    source = random.Random(7)
    for turn in range(12):
        pid = os.fork()
        if pid == 0:
            try:
                mine = Ledger(dsn_of(ledger))
                for n in range(10_000):
                    live(mine, f"i{turn}.{n}")
            finally:
                os._exit(1)
        before = ask(ledger, "select count(*) from ooda.journal")
        wait_until(lambda then=before: ask(ledger, "select count(*) from ooda.journal") > then, what="a first row")
        time.sleep(source.random() * 0.1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert ledger.trail.verify().broken == []
    assert ledger.trail.verify().rows["journal/t"] > 12
    live(ledger, "after")
    assert ledger.trail.verify().intact


def test_a_transaction_that_breaks_off_leaves_no_gap(known: Ledger) -> None:
    with known.engine.connect() as conn:
        chains.write_audit(conn, "half", target="t")
        conn.rollback()
    known.audit("whole", target="t")
    assert known.trail.verify().rows == {"audit": 2}
    assert known.trail.verify().intact


def test_a_writer_that_hangs_holds_the_others_up_for_a_while_only(
    known: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "IDLE_HOLDER_MS", 300)
    with known.engine.connect() as hung:
        chains.write_audit(hung, "hung", target="t")
        began = time.monotonic()
        known.audit("next", target="t")
        assert 0.2 < time.monotonic() - began < 10
        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            hung.exec_driver_sql("select 1")
        hung.invalidate()
    assert [e.event for e in known.trail.events("t")] == ["mode", "next"]


def test_a_check_reads_one_moment_while_others_write(known: Ledger) -> None:
    mine = Ledger(dsn_of(known))
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [live(mine, f"i{n}") for n in range(15)])
        wait_until(lambda: len(known.trail.verify().rows) > 1, what="a first row")
        while not writing.done():
            assert known.trail.verify().broken == []
        writing.result()
    mine.close()


def test_a_transition_and_its_event_are_one_transaction(known: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    action = known.actions.propose("t", proposal(), by="ann", now=NOW)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ooda_dagster.ledger.actions.write_audit", broken)
    with pytest.raises(ZeroDivisionError):
        known.actions.transition(action.action_id, State.APPROVED, actor="ann", audit="approved")
    assert known.actions.get(action.action_id).state == State.PROPOSED
    assert known.trail.verify().rows["journal/t"] == 1


def test_the_events_come_in_time_order_by_who_what_and_when(known: Ledger) -> None:
    action = live(known, "i1")
    known.cycles.pause("t", NOW, by="bea", why="release")
    known.cycles.resume("t", by="bea")
    trail = known.trail
    assert [(e.event, e.actor) for e in trail.events("t")][1:] == [
        ("approved", "ann"), ("paused", "bea"), ("resumed", "bea"),
    ]  # fmt: skip
    assert [e.event for e in trail.events(actor="bea", limit=1)] == ["resumed"]
    (approval,) = trail.events("t", events=["approved"])
    assert (approval.detail["action_id"], approval.what) == (action, "build it")
    assert trail.events("t", since=approval.at + timedelta(days=1)) == []
    assert [e.event for e in trail.events("t", until=approval.at)] == ["mode"]
    assert trail.events("other") == []
    moves = [(e.book, e.event) for e in trail.events("t", transitions=True, events=["approved", "applied"])]
    assert sorted(moves) == [("audit", "approved"), ("journal", "applied"), ("journal", "approved")]
