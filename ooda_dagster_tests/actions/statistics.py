"""Orders with statistics of every kind that actions change, and the catalogue's word on them."""

from __future__ import annotations

from typing import Any

from ooda_dagster.actions.analyze import analyze_spec
from ooda_dagster.actions.create_statistics import statistics_spec
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.actions.set_statistics_target import target_spec
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.statistics import StatisticsSpec
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.loop.by_hand import approve_action
from ooda_dagster_tests.actions.stage import Stage

ORDERS = ("public", "orders")
TOGETHER = StatisticsSpec(*ORDERS, ("customer", "status"), ("ndistinct", "dependencies"))
ANALYZE, EXTENDED, TARGET = (
    HypothesisType.ANALYZE,
    HypothesisType.EXTENDED_STATISTICS,
    HypothesisType.STATISTICS_TARGET,
)


def proposed(stage: Stage, kind: HypothesisType) -> Proposal:
    """A change of a kind, for how the statistics are kept now."""
    with stage.loop.target.observing("test") as session:
        kept = session.statistics([ORDERS])[ORDERS]
    specs: dict[HypothesisType, dict[str, Any]] = {
        ANALYZE: analyze_spec(*ORDERS, kept),
        EXTENDED: statistics_spec(TOGETHER),
        TARGET: target_spec(*ORDERS, "customer", target=1000, before=kept.targets.get("customer")),
    }
    return TYPES[kind].propose(specs[kind])


def approved(stage: Stage, kind: HypothesisType) -> Action:
    """An action of a kind that a person approved; nothing is done yet."""
    action = stage.ledger.actions.propose(stage.loop.name, proposed(stage, kind), by="ann", now=stage.loop.clock())
    return approve_action(stage.loop, action, by="ann")


def applied(stage: Stage, kind: HypothesisType) -> Action:
    outcome = stage.apply(approved(stage, kind))
    assert outcome.done, outcome.note
    return outcome.action


def catalogue(stage: Stage) -> list[Any]:
    """Every statistics object with its comment, and every target that is not the default."""
    return stage.database.execute(
        "select pg_get_statisticsobjdef(oid), coalesce(obj_description(oid, 'pg_statistic_ext'), '') "
        "from pg_statistic_ext union all "
        "select attname::text, attstattarget::text from pg_attribute "
        "where attrelid = 'orders'::regclass and attnum > 0 and attstattarget >= 0 order by 1"
    )


def analysed_at(stage: Stage) -> Any:
    return stage.database.execute("select last_analyze from pg_stat_all_tables where relid = 'orders'::regclass")[0][0]


def filled(stage: Stage) -> int:
    """Statistics objects that hold data."""
    return stage.database.execute("select count(*) from pg_statistic_ext_data where stxdndistinct is not null")[0][0]
