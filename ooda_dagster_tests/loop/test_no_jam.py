"""Do writers go on while whole cycles build and take back indexes, with a transaction open elsewhere? Measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.loop.by_hand import propose, rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster_tests.loop.ground import turn
from ooda_dagster_tests.loop.watchers import watched
from ooda_dagster_tests.support import Database

WRITES = (
    "update orders set note = note where id = 1 + (random() * 99999)::int",
    "insert into orders select 1000000 + (random() * 1e12)::bigint, 1, 'open', now(), 'x' on conflict do nothing",
    "update events set note = note where id = 1 + (random() * 9999)::int",
    "insert into events values (100 + (random() * 9000)::int, 1, 'x')",
)
EVENTS = """
create table events (id int not null, customer int not null, note text not null) partition by range (id);
create table events_a partition of events for values from (0) to (4000);
create table events_b partition of events for values from (4000) to (20000);
insert into events select g, g % 500, repeat('x', 50) from generate_series(1, 10000) g; analyze events
"""
#: As long as somebody's snapshot on an unrelated table is held, each time.
ELSEWHERE_S = 1.5


@pytest.mark.slow
def test_writers_our_sessions_and_the_catalogue_through_whole_cycles(
    shop: Callable[..., Loop], busy: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    busy.execute(EVENTS, dsn=busy.app)
    loop = shop(Mode.AUTO)
    try:
        with watched(busy, WRITES, elsewhere_s=ELSEWHERE_S) as seen:
            found = turn(loop)
            asked = propose(loop, "create index on events (customer)", by="ann", approve=True)
            asked_too = turn(loop)
            ids = {r.action_id for r in (*found.results.results, *asked_too.results.results)}
            actions = [loop.ledger.actions.get(action_id) for action_id in sorted(ids)]
            built = [a for a in actions if a.state == State.VERIFYING]
            undone = [rollback(loop, action, by="ann") for action in built]
        invalid = busy.execute("select count(*) from pg_index where not indisvalid and indrelid >= 16384")[0][0]
    finally:
        busy.execute("drop table events; delete from orders where id > 100000")
    waits = [a.lock_wait_ms or 0 for a in built]
    with capsys.disabled():
        print(
            f"\n{seen.writes} writes beside {len(built)} builds and undos: longest {seen.worst_stall * 1000:.0f} ms"
            f"\nbuilds waited {max(waits) / 1000:.1f} s at most; {seen.samples} looks at 10 Hz saw at most "
            f"{seen.connections} sessions of ours, {seen.idle_in_transaction} idle in a transaction; "
            f"{invalid} invalid indexes"
        )
    assert asked.touches  # no what-if tells which: all statements on the table and its partitions
    assert asked.action_id in {a.action_id for a in built}
    assert len(built) == 2
    assert all(outcome.done for outcome in undone), [o.note for o in undone]
    assert seen.writes > 500
    assert seen.samples > 30
    assert max(waits) > 500  # the builds did meet the transaction elsewhere
    assert seen.worst_stall < 1
    assert seen.connections <= 2, seen.sessions
    assert seen.idle_in_transaction == 0
    assert invalid == 0
