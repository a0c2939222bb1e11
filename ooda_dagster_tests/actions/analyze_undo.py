"""All that an undo of an ANALYZE must put back: what the server keeps of `orders`, and a change of it."""

from __future__ import annotations

from typing import Any

from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Action
from ooda_dagster_tests.actions.stage import Stage

#: All that the server keeps of a table, of what inherits from it and of their indexes: no restored row may differ.
_KEPT = """
with recursive tree(oid) as (
    select 'orders'::regclass::oid union select inhrelid from pg_inherits join tree on oid = inhparent
), part as (select oid from tree union all select indexrelid from pg_index where indrelid in (select oid from tree))
select 'column', s::text from pg_statistic s where starelid in (select oid from part)
union all
select 'sizes', concat_ws(' ', oid::regclass, relpages, reltuples, relallvisible, relallfrozen) from pg_class
where oid in (select oid from part) order by 1, 2
"""
#: Other values in half of the rows, and fewer rows.
CHANGE = (
    "update orders set customer = id % 3, note = 'n' || id % 40 where id % 2 = 0; delete from orders where id < 500"
)


def kept(stage: Stage) -> list[Any]:
    return stage.database.execute(_KEPT)


def put_back(stage: Stage, action: Action) -> None:
    outcome = stage.rollback(action)
    assert (outcome.done, outcome.action.state) == (True, State.REVERTED), outcome.note
