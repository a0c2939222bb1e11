"""What the crash matrix must know of each action type: its stage, a proposal, the statements that it sends.

A new type adds its scenario to SCENARIOS. `test_every_action_type_has_a_scenario` waits for it, and a run without a
crash is compared with what the scenario says. Points of crash follow from the statements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.actions.create_index_partitioned import propose_partitioned_index
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.concept_binding import grants
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.loop.bindings import propose_bindings
from ooda_dagster.loop.concepts import find_concepts
from ooda_dagster.loop.context import Loop
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, Stage
from ooda_dagster_tests.actions.statistics import proposed

#: What somebody does in an open transaction, so that a statement stops in its middle.
_WRITE = "update orders set note = note where id = 1"
_READ = "select count(*) from orders"
_HOLD = "lock table orders in share update exclusive mode"
_COMMENT = "lock table pg_description in share mode"
_EVENTS = IndexSpec.on("public", "events", "customer")


@dataclass(frozen=True)
class Statement:
    """One that an action sends.

    begins: the beginning of its text; held_by: a superuser's statement that makes it wait in its middle while its
    transaction is open. Of a catalogue that it writes to, `lock table pg_... in share mode` does it. again: whether
    recovery may send it once more, as it then does the same.
    """

    begins: str
    held_by: str
    again: bool = False


@dataclass(frozen=True)
class Scenario:
    """One action type on the stage: `orders(id, customer, status, placed, note)` with 3,000 analysed rows.

    proposal: of the change. apply, undo: what it sends, in order; no `undo` where the type has none.
    made_by: how many statements of `apply` it takes until recovery finds the object complete, and adopts it.
    prepare: SQL as the tables' owner, to set the stage. state: a query whose rows belong to what is compared, beyond
    the catalogue of ground.py (of ANALYZE: the statistics). forgotten: the server knows no more whether the deed was
    done once it was killed, so that it may be called failed; doing it again is doing it once. known: what the ledger
    must know before, and a superuser do. judged: whether a verdict can end otherwise than that it is kept.
    """

    action_type: str
    proposal: Callable[[Stage], Proposal]
    apply: tuple[Statement, ...]
    undo: tuple[Statement, ...]
    made_by: int
    prepare: str = ""
    state: str = ""
    forgotten: bool = False
    known: Callable[[Stage], None] = lambda _: None
    judged: bool = True

    def __str__(self) -> str:
        return self.action_type


def _partitioned(stage: Stage) -> Proposal:
    with stage.loop.target.observing("test") as session:
        return propose_partitioned_index(_EVENTS, session.partitions("public", "events"))


def _discovered(stage: Stage) -> None:
    """Concepts of two directions; all embeddings are counted. And the rights to bind them."""
    stage.database.execute(" ".join(grants(ACT_ROLE, [APP_ROLE])))
    with stage.loop.target.observing("test") as session:
        find_concepts(_keen(stage.loop), session, "found", scope="embeddings", blind=[])


def _keen(loop: Loop) -> Loop:
    concepts = loop.settings.concepts.model_copy(update={"chunk_rows": 200, "bind_discoveries": 1})
    return replace(loop, settings=loop.settings.model_copy(update={"concepts": concepts}))


def _concept(stage: Stage) -> Proposal:
    """The larger of two concepts, whose members lie in two pages."""
    loop = _keen(stage.loop)
    with loop.target.observing("test") as session:
        specs = [h.evidence["spec"] for h in propose_bindings(loop, session)]
    return TYPES[HypothesisType.CONCEPT].propose(max(specs, key=lambda spec: spec["new_rows"]))


_ANALYZE = Statement("analyze", held_by=_HOLD, again=True)
_ALTER = Statement("alter table", held_by=_HOLD)
_INSERT = Statement("insert into ooda.atom_concepts", held_by="lock table ooda.atom_concepts in share mode", again=True)
_PARTITIONS = tuple(
    statement
    for n in (1, 2)
    for statement in (
        Statement("create index concurrently", held_by=f"update events_{n} set customer = 2"),
        Statement("alter index", held_by=f"select count(*) from events_{n} where customer = 1"),
    )
)

SCENARIOS = (
    Scenario(
        HypothesisType.INDEX,
        lambda _: propose_index(ON_CUSTOMER),
        apply=(
            Statement("create index concurrently", held_by=_WRITE),
            Statement("comment on index", held_by=_COMMENT),
        ),
        undo=(Statement("drop index concurrently", held_by=_READ),),
        made_by=1,
    ),
    Scenario(
        HypothesisType.PARTITIONED_INDEX,
        _partitioned,
        prepare=(
            "create table events (id int, customer int) partition by range (id);"
            "create table events_1 partition of events for values from (0) to (1000);"
            "create table events_2 partition of events for values from (1000) to (2000);"
            "insert into events select g, g % 100 from generate_series(0, 1999) g; analyze events"
        ),
        apply=(
            Statement("create index ooda", held_by="lock table events in row exclusive mode"),
            *_PARTITIONS,
            Statement("comment on index", held_by=_COMMENT),
        ),
        undo=(Statement("drop index public", held_by="select count(*) from events where customer = 1"),),
        made_by=1,
    ),
    Scenario(
        HypothesisType.ANALYZE,
        lambda stage: proposed(stage, HypothesisType.ANALYZE),
        prepare="insert into orders select id + 100000, customer, status, placed, note from orders limit 500",
        apply=(_ANALYZE,),
        undo=(Statement("select 1 / pg_catalog.bool_and", held_by=_HOLD, again=True),),
        made_by=1,
        state="select reltuples, relpages, relallvisible, (select string_agg(s::text, '; ' order by attname) "
        # each stage has other times in `placed`
        "from pg_stats s where tablename = 'orders' and attname <> 'placed') from pg_class "
        "where oid = to_regclass('orders')",
        forgotten=True,
    ),
    Scenario(
        HypothesisType.EXTENDED_STATISTICS,
        lambda stage: proposed(stage, HypothesisType.EXTENDED_STATISTICS),
        apply=(
            Statement("create statistics", held_by=_HOLD),
            Statement("comment on statistics", held_by=_COMMENT),
            _ANALYZE,
        ),
        undo=(Statement("drop statistics", held_by=_HOLD),),
        made_by=1,
    ),
    Scenario(
        HypothesisType.STATISTICS_TARGET,
        lambda stage: proposed(stage, HypothesisType.STATISTICS_TARGET),
        apply=(_ALTER, _ANALYZE),
        undo=(_ALTER, _ANALYZE),
        made_by=1,
    ),
    Scenario(
        HypothesisType.CONCEPT,
        _concept,
        prepare=(
            "create table atom_embeddings (atom_embedding_id int primary key, embedding real[]);"
            "insert into atom_embeddings select g, array[(g % 3 = 0)::int, (g % 3 > 0)::int, sin(g) / 9, cos(g) / 9]"
            "from generate_series(1, 240) g; analyze atom_embeddings;"
            "create or replace function bound() returns setof text language plpgsql as $$ begin "
            "if to_regclass('ooda.atom_concepts') is not null then "
            "return query execute 'select atom_id || concept_id from ooda.atom_concepts'; end if; end $$"
        ),
        known=_discovered,
        apply=(
            Statement("create table if not exists ooda", held_by="lock table pg_constraint in share mode"),
            Statement("grant select on ooda", held_by="lock table pg_shdepend in share mode", again=True),
            Statement("comment on table", held_by=_COMMENT),
            _INSERT,
            _INSERT,
        ),
        undo=(
            Statement("delete from ooda", held_by="lock table ooda.atom_concepts in share mode", again=True),
            Statement("do $ooda$", held_by="select count(*) from ooda.atom_concepts"),
        ),
        made_by=1,
        state="select * from bound()",
        judged=False,
    ),
)
