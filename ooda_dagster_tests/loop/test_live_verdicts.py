"""Verdicts on a real server under real traffic: what helped stays, what hurt goes, a busy hour proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import State
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.losers import open_losers
from ooda_dagster_tests.loop.live import live, seconds_ago, shown
from ooda_dagster_tests.support import Database, traffic

pytestmark = pytest.mark.slow

_OFF = "with (autovacuum_enabled = off)"
_QUIET = {"statistics": {"analyze": False, "extended": False, "targets": False}}


def _table(name: str, columns: str, rows: str) -> str:
    return f"create table {name} ({columns}) {_OFF}; insert into {name} {rows}"


def test_an_index_that_helps_is_kept_during_a_spike_of_other_traffic(
    small: Database, books: Ledger, home: Path
) -> None:
    events = _table(
        "events",
        "id int primary key, customer int not null, note text not null",
        "select g, g % 3000, repeat('x', 60) from generate_series(1, 30000) g",
    )
    third = _table("third", "id int, note text", "select g, repeat('y', 100) from generate_series(1, 30000) g")
    spike = {"select count(*) from third where note like '%z%'": lambda _: ()}
    with live(small, books, home, [events, third], **_QUIET) as ground:
        helped = "select max(note) from events where customer = 77"
        with ground.traffic(helped):
            before = ground.ms_per_call("select", seconds_ago(ground.loop, 25), ground.loop.clock())
            action = ground.built("create index on events (customer)")
            with traffic(small.app, spike, per_second=200), traffic(small.app, spike, per_second=200):
                ended = ground.judged(action)
                after = ground.ms_per_call("select", seconds_ago(ground.loop, 15), ground.loop.clock())
    shown("an index that helps, in a spike", ended)
    print(f"all statements took {before:.2f} ms a call before, {after:.2f} in the spike")
    assert after > before, "the spike made the server slower on the whole"
    assert (ended.state, ended.outcome) == (State.KEPT, Outcome.BETTER)
    assert ended.ratio_high is not None
    assert ended.ratio_high < 0.8


def test_an_action_that_does_nothing_is_inconclusive_while_everything_slows_by_40_per_cent(
    small: Database, books: Ledger, home: Path
) -> None:
    """All tables grow by two fifths, and no statement can use the index."""
    columns = "id int primary key, v int not null, unused int not null"
    rows = "select g, g % 100, g from generate_series({}, {}) g"
    names = ("touched", "first", "second")
    tables = [_table(name, columns, rows.format(1, 20000)) for name in names]
    deadline = {"verifying": {"deadline_s": 55, "low_traffic_deadline_s": 55}}
    with live(small, books, home, tables, **_QUIET, **deadline) as ground:
        statements = [f"select count(*) from {name} where v < 0" for name in names]
        with ground.traffic(*statements):
            before = ground.ms_per_call("v <", seconds_ago(ground.loop, 25), ground.loop.clock())
            action = ground.built("create index on touched (unused)")
            for name in (*names, "beside"):
                more = rows.format(20001, 28000)
                if name == "beside":
                    more = "select g, repeat('x', 80) from generate_series(6001, 8400) g"
                ground.run(f"insert into {name} {more}; analyze {name}")
            ended = ground.judged(action)
            after = ground.ms_per_call("v <", seconds_ago(ground.loop, 40), ground.loop.clock())
    shown("an index that nothing uses, while everything slows", ended)
    print(f"statements took {before:.2f} ms a call before, {after:.2f} after: {100 * (after / before - 1):+.0f} %")
    assert after > 1.15 * before
    assert (ended.state, ended.outcome) == (State.INCONCLUSIVE, Outcome.INCONCLUSIVE)
    assert ended.ratio_low is not None
    assert ended.ratio_high is not None
    assert ended.ratio_low < 1 < ended.ratio_high
    assert "kept: it costs next to nothing" in (ended.verdict_reason or "")


def test_an_index_that_hurts_is_undone_and_what_it_cost_is_gone(small: Database, books: Ledger, home: Path) -> None:
    written = (
        "create table written (id int primary key, n int not null, m int not null, note text not null) "
        "with (autovacuum_enabled = off, fillfactor = 40); insert into written "
        "select g, g, g, repeat(md5(g::text), 12) from generate_series(1, 4000) g"
    )
    with live(small, books, home, [written], **_QUIET) as ground:
        write = "update written set n = n + 1, m = m + 2 where id between 100 and 180"
        with ground.traffic(write):
            before = ground.ms_per_call("update", seconds_ago(ground.loop, 20), ground.loop.clock())
            indexes = small.indexes()
            action = ground.built("create index on written (n, m, note)")
            ended = ground.judged(action)
            assert ended.applied_at is not None
            assert ended.reverted_at is not None
            under = ground.ms_per_call("update", ended.applied_at, ended.reverted_at)
            ground.sampled(16)
            after = ground.ms_per_call("update", seconds_ago(ground.loop, 12), ground.loop.clock())
            assert small.indexes() == indexes
    shown("an index that hurts", ended)
    print(f"the update took {before:.2f} ms before, {under:.2f} with the index, {after:.2f} once it was gone")
    assert (ended.state, ended.outcome) == (State.REVERTED, Outcome.WORSE)
    assert under > 1.2 * before
    assert after < (before + under) / 2


def test_of_nine_winners_and_one_loser_the_index_stays_and_the_loser_is_mended(
    small: Database, books: Ledger, home: Path
) -> None:
    """Of one `kind` nearly all rows are gone, and nobody analysed the table since, as fewer changed than what calls for
    it. The planner takes the kind for common, and walks along the new index until it meets ten of it, far away."""
    fact = _table(
        "fact",
        "id int primary key, a int not null, b int not null, kind int not null, note text not null",
        "select g, g * 7919 % 2000, g % 5, case when g % 7 = 0 then 1 else 2 end, repeat('x', 40) "
        "from generate_series(1, 20000) g; create index on fact (kind)",
    )
    winners = [
        f"select {what} from fact where a = 5"
        for what in ("max(b)", "min(b)", "sum(b)", "avg(b)", "count(*)", "max(note)", "min(note)", "sum(id)", "avg(id)")
    ]
    loser = "select id from fact where kind = 1 order by a limit 10"
    with live(small, books, home, [fact], statistics={"extended": False, "targets": False}) as ground:
        ground.run("update fact set kind = 3 where kind = 1 and a not between 400 and 410")
        ground.run("vacuum fact")  # what is dead would make a noisy baseline
        with ground.traffic(*winners, loser):
            assert "Sort" in ground.plan(loser)
            action = ground.built("create index on fact (a)")
            assert "Index Scan" in ground.plan(loser)
            ended = ground.judged(action)
            shown("nine winners and one loser", ended)
            assert (ended.state, ended.outcome) == (State.KEPT, Outcome.BETTER)
            lost = ground.loser()
            print(f"the loser: {lost.ratio:.1f} times the work per call")
            assert lost.ratio > 1.2
            cycle = ground.cycle()
            (remedy,) = [r for r in cycle.results.results if r.hypothesis_type == HypothesisType.ANALYZE]
            print(remedy.description)
            assert remedy.action_status == "Executed", remedy
            assert "a statement takes" in remedy.description
            assert "since action" in remedy.description
            assert "Sort" in ground.plan(loser)
            mended = ground.judged(ground.ledger.actions.get(remedy.action_id))
            shown("what mends it", mended)
            assert (mended.state, mended.outcome) == (State.KEPT, Outcome.BETTER)
            assert open_losers(ground.loop) == {}
            assert ground.ledger.actions.get(action.action_id).state == State.KEPT
            assert (action.object_name or "") in small.indexes()
