"""Are past days materialised one by one, from the ledger alone, and told so that a person sees what counts?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.core.settings import Settings
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.schedules import ooda_past_days
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.defs.ground import QUIET, key, tick
from ooda_dagster_tests.loop.days import (
    DEAD,
    NOW,
    ago,
    ask,
    buckets,
    compact,
    config_of,
    dsn_of,
    found,
    full_day,
    know,
    midnight,
    ooda_of,
    record,
)
from ooda_dagster_tests.loop.ground import logged
from ooda_dagster_tests.support import Database, fresh_ledger

HOUR_MS = 3_600_000.0
SHOWN = ("would_have_proposed", "days", "where_the_time_went", "got_slower", "there_already")


@dataclass
class Days:
    """A Dagster instance on some configuration."""

    config: Config
    instance: dg.DagsterInstance

    def run(self, day: date, **config: Any) -> dg.ExecuteInProcessResult:
        """A run of the job for one day, as a backfill starts it."""
        definitions = build_definitions(self.config)
        ops = {"ops": {"ooda__workload_days": {"config": config}}} if config else {}
        return definitions.resolve_job_def("ooda_history").execute_in_process(
            instance=self.instance, partition_key=day.isoformat(), run_config={**QUIET, **ops}, raise_on_error=False
        )

    def metadata(self, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
        (event,) = result.asset_materializations_for_node("ooda__workload_days")
        return {name: plain(value) for name, value in event.metadata.items()}


def plain(value: dg.MetadataValue[Any]) -> Any:
    """A table as rows, anything else as it is."""
    if isinstance(value, dg.TableMetadataValue):
        return [dict(record.data) for record in value.records]
    return value.value


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as made:
        yield made


@pytest.fixture(scope="module")
def month(ledger_server: Cluster) -> Iterator[Ledger]:
    """A ledger with 31 days of two targets of three; an index pays on the last ten of `shop`."""
    with fresh_ledger(ledger_server) as ledger:
        shop, crm = know(ledger, "shop"), know(ledger, "crm")
        record(ledger, found(), NOW - timedelta(days=1), "shop")
        for back in range(31, 0, -1):
            heavy = HOUR_MS if back <= 10 else 960.0
            buckets(ledger, full_day(ago(back), {shop["s1"]: (9600, heavy), shop["s2"]: (9600, 96_000.0)}), "shop")
            buckets(ledger, full_day(ago(back), {crm["s1"]: (960, 9600.0)}), "crm")
        for name in ("shop", "crm"):
            compact(ledger, name)
        yield ledger


@pytest.fixture
def days(month: Ledger, instance: dg.DagsterInstance) -> Days:
    """Three targets whose server nobody can reach."""
    ask(month, "delete from ooda.workload_day")
    return Days(config_of(month, "shop", "crm", "new"), instance)


def test_a_day_is_told_from_the_ledger_with_every_target_out_of_reach(days: Days, month: Ledger) -> None:
    result = days.run(ago(3))
    assert result.success
    seen = days.metadata(result)
    assert seen["summary"] == f"{ago(3)}: 1 would have been proposed; 2 of 3 targets have data"
    assert (seen["targets_with_data"], seen["proposals"], seen["calls"]) == (2, 1, 9600 + 9600 + 960)
    assert seen["statement_time_s"] == pytest.approx((HOUR_MS + 96_000 + 9600) / 1000, rel=1e-3)
    assert seen["saves_s_per_hour"] == pytest.approx(0.9 * 3600 / 24, rel=1e-3)
    (proposal,) = seen["would_have_proposed"]
    assert proposal["would have proposed"] == "Build an index on public.orders (customer)"
    assert (proposal["target"], proposal["state"]) == ("shop", "proposed")
    assert proposal["saves s/h"] == pytest.approx(135.0, rel=1e-3)
    assert proposal["rule"].startswith("mode propose")
    rows = {row["target"]: row for row in seen["days"]}
    assert rows["shop"]["source"] == "ledger rollups (block 24.0 h)"
    assert "no candidate is known" in rows["crm"]["notes"]
    assert rows["new"]["source"] == "no data"
    assert "today's" in seen["reconstructed"]
    assert {d.target for d in month.workload_days.list(ago(3), ago(3))} == {"shop", "crm", "new"}


def test_what_is_shown_is_small_and_the_chart_a_picture(days: Days) -> None:
    seen = days.metadata(days.run(ago(3)))
    assert set(SHOWN) <= seen.keys()
    assert seen["where_the_time_went"].startswith("![Statement time of the day, by target](data:image/svg+xml;base64,")
    assert len(seen["where_the_time_went"]) < 30_000
    assert sum(len(str(value)) for value in seen.values()) < 60_000


def test_one_target_is_charted_by_its_statements_and_has_its_quantiles(days: Days) -> None:
    seen = days.metadata(days.run(ago(3), targets=["shop"]))
    assert seen["where_the_time_went"].startswith("![shop: share of the day's statement time]")
    assert seen["latency_p95_ms"] == pytest.approx(375.0, rel=1e-3)
    assert seen["latency_p50_ms"] == pytest.approx(10.0, rel=1e-3)


def test_a_run_can_be_of_some_targets_only(days: Days, month: Ledger) -> None:
    assert days.run(ago(2), targets=["crm"]).success
    assert [d.target for d in month.workload_days.list(ago(2), ago(2))] == ["crm"]
    result = days.run(ago(2), targets=["crn"])
    assert not result.success
    assert "did you mean 'crm'?" in str(result.all_events)


def test_a_day_without_any_data_succeeds_and_says_so(days: Days) -> None:
    result = days.run(ago(60))
    assert result.success
    seen = days.metadata(result)
    assert seen["summary"] == f"{ago(60)}: no data for any of 3 targets"
    assert seen["targets_with_data"] == 0


def test_running_a_day_again_replaces_it(days: Days, month: Ledger) -> None:
    one, two = (days.metadata(days.run(ago(4))) for _ in range(2))
    assert one == two
    assert ask(month, "select count(*) from ooda.workload_day") == [(3,)]


@pytest.mark.slow
def test_a_backfill_over_30_days_with_the_target_stopped(days: Days, month: Ledger) -> None:
    for back in range(30, 0, -1):
        assert days.run(ago(back)).success, back
    rows = month.workload_days.list(ago(30), ago(1), ["shop"])
    assert [len(d.proposed) for d in rows] == [0] * 20 + [1] * 10
    assert {d.grain for d in rows} == {"hour", "block+hour", "block", "minute+block"}
    materialized = days.instance.get_materialized_partitions(key("workload_days"))
    assert materialized == {ago(back).isoformat() for back in range(30, 0, -1)}
    assert ask(month, "select count(*) from ooda.cycle") == [(0,)]


def test_a_day_that_is_not_over_is_no_partition(days: Days) -> None:
    assets = build_definitions(days.config).get_assets_def(key("workload_days"))
    assert isinstance(assets.partitions_def, dg.DailyPartitionsDefinition)
    keys = assets.partitions_def.get_partition_keys()
    assert (keys[0], keys[-1], len(keys)) == (ago(400).isoformat(), ago(1).isoformat(), 400)
    assert assets.partitions_def.timezone == "UTC"


def test_the_first_day_is_a_setting(month: Ledger) -> None:
    config = config_of(month, "shop", history={"start_day": "2026-01-15"})
    definition = build_definitions(config).get_assets_def(key("workload_days")).partitions_def
    assert definition is not None
    assert definition.get_first_partition_key() == "2026-01-15"


def one_target(ledger: Ledger, observe: str = DEAD, **history: Any) -> Config:
    settings = Settings.model_validate({"history": history})
    target = TargetConfig("lake", Reference.literal(observe), settings=settings)
    other = TargetConfig("crm", Reference.literal(DEAD))
    return Config(Reference.literal(dsn_of(ledger)), {"lake": target, "crm": other})


def test_requests_in_parquet_files_tell_of_a_day_that_the_ledger_does_not(
    month: Ledger, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with closing(duckdb.connect()) as connection:
        connection.execute(
            f"copy (select timestamptz '{midnight(ago(3))}' + i * interval 1 minute as request_timestamp, "
            f"10 + i as total_duration_ms, 'Completed' as status from range(100) t(i)) to '{tmp_path}/a.parquet'"
        )
    days = Days(one_target(month, parquet=f"{tmp_path}/*.parquet", requests=True), instance)
    seen = days.metadata(days.run(ago(3)))
    assert seen["requests"] == 100
    assert f"Parquet files {tmp_path}/*.parquet" in {row["target"]: row["source"] for row in seen["days"]}["lake"]
    (day,) = month.workload_days.list(ago(3), ago(3), ["lake"])
    assert (day.requests, day.failed, day.p50_ms, day.calls) == (100, 0, 59.5, None)
    assert "no candidate can be valued" in day.decided["reason"]
    (note,) = day.notes
    assert note.startswith("the target's requests could not be read: ")


def test_a_source_that_is_configured_wrongly_fails_the_run_after_the_others_are_kept(
    month: Ledger, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "a.parquet").write_text("none")
    days = Days(one_target(month, parquet=f"{tmp_path}/a.parquet"), instance)
    result = days.run(ago(5))
    assert not result.success
    (mistake,) = days.metadata(result)["to_mend"]
    assert mistake["target"] == "lake"
    assert "a.parquet cannot be read" in mistake["what"]
    found_days = {d.target: d for d in month.workload_days.list(ago(5), ago(5))}
    assert found_days["crm"].calls == 960
    assert found_days["lake"].decided == {"unread": True}


def test_a_target_that_opted_in_is_read_once_a_day_and_only_read(
    month: Ledger, instance: dg.DagsterInstance, database: Database
) -> None:
    database.execute(
        "create table inference_requests as select now() - g * interval '1 minute' as request_timestamp, "
        "g as total_duration_ms, 'Failed'::text as status from generate_series(0, 60 * 24 * 3) g",
        dsn=database.app,
    )
    days = Days(one_target(month, database.observe, requests=True, reads_per_minute=600), instance)
    with logged(database) as statements:
        assert days.run(ago(1)).success
        assert statements.writes == []
        assert sum("One past day" in line for line in statements.lines) == 1
    (day,) = month.workload_days.list(ago(1), ago(1), ["lake"])
    assert (day.source, day.requests, day.failed) == ("table public.inference_requests", 1440, 1440)


def test_a_target_that_opted_in_and_does_not_answer_has_no_data_and_is_asked_again(
    month: Ledger, instance: dg.DagsterInstance
) -> None:
    days = Days(one_target(month, requests=True), instance)
    assert days.run(ago(6)).success
    (day,) = month.workload_days.list(ago(6), ago(6), ["lake"])
    assert not day.has_data
    assert "does not answer" in day.notes[1]
    assert day.decided == {"unread": True}


@pytest.mark.parametrize(("offset", "calls"), [(0, 9600 + 9600 + 960), (-1, 960)])
def test_whoever_reads_the_asset_gets_the_rows_of_the_days_that_they_map_to(
    days: Days, month: Ledger, offset: int, calls: int
) -> None:
    mapping = dg.TimeWindowPartitionMapping(start_offset=offset, end_offset=offset)

    @dg.asset(
        ins={"days": dg.AssetIn(key=key("workload_days"), partition_mapping=mapping)},
        partitions_def=dg.DailyPartitionsDefinition("2020-01-01"),
    )
    def mine(days: list) -> int:  # type: ignore[type-arg]
        return sum(d.calls or 0 for d in days)

    days.run(ago(3))
    days.run(ago(4), targets=["crm"])
    theirs = build_definitions(days.config)
    source = theirs.get_assets_def(key("workload_days"))
    assert theirs.resources is not None
    result = dg.materialize(
        [source, mine],
        selection=[mine],
        partition_key=ago(3).isoformat(),
        resources={name: theirs.resources[name] for name in ("ooda", "ooda_days")},
        instance=days.instance,
    )
    assert result.output_for_node("mine") == calls


def test_yesterday_is_rolled_up_by_itself_and_what_was_missed_before(
    ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    """Once each; of days that the ledger knows nothing of no run is made."""
    ids = know(ledger, "shop", 1)
    for back in (9, 3, 1):
        buckets(ledger, full_day(ago(back), {ids["s1"]: (960, 960.0)}), "shop")
    ooda, at = ooda_of(ledger, "shop"), midnight(ago(0)) + timedelta(minutes=20)
    asked = tick(ooda_past_days, ooda, instance, at)
    assert [request.partition_key for request in asked] == [ago(3).isoformat(), ago(1).isoformat()]  # type: ignore[union-attr]
    days = Days(config_of(ledger, "shop"), instance)
    for request in asked:
        assert days.run(date.fromisoformat(request.partition_key)).success  # type: ignore[union-attr, arg-type]
    assert [d.day for d in ledger.workload_days.list(ago(30), ago(0))] == [ago(3), ago(1)]
    assert tick(ooda_past_days, ooda, instance, at) == (
        "every day of the last week that the ledger knows of is rolled up"
    )
