"""Is each batch of requests told once, whoever's asset it is, and does a dead target stop nobody?"""

from __future__ import annotations

import dagster as dg
import pytest

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.defs.names import Names
from ooda_dagster_tests.defs.ground import NAME
from ooda_dagster_tests.defs.ticks import MakeTicks, Ticks
from ooda_dagster_tests.ledger.ground import ask


def test_a_batch_becomes_one_materialization_of_the_source_asset(ticks: Ticks) -> None:
    ticks.done(1, 2, 3)
    ticks.done(4, status="odd")
    assert ticks.tick() == []
    assert ticks.said == f"{NAME}: 3 requests; 1 left out: unknown status"
    assert ticks.tick() == []
    (report,) = ticks.reports
    assert (report["rows"], report["first_id"], report["last_id"], report["alarm"]) == (3, 1, 4, "none")
    assert (report["batches"], report["rejected"], report["target"]) == (1, {"unknown status": 1}, NAME)
    assert {"window_start", "window_end", "batch_id"} <= set(report)
    assert ticks.instance.get_runs_count() == 0


def test_reports_are_debounced_and_nothing_is_left_out_of_them(ticks: Ticks) -> None:
    ticks.done(1)
    ticks.tick()
    for n in range(2, 6):
        ticks.done(n)
        ticks.tick()
    assert [r["rows"] for r in ticks.reports] == [1]
    ticks.set(report_every_s=0.001)
    ticks.tick()
    assert [(r["rows"], r["batches"], r["first_id"], r["last_id"]) for r in ticks.reports] == [
        (1, 1, 1, 1),
        (4, 4, 2, 5),
    ]


@pytest.mark.parametrize("before_the_event", [True, False])
def test_a_crash_while_reporting_reports_once(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch, before_the_event: bool
) -> None:
    ticks.done(1, 2)
    report = ticks.instance.report_runless_asset_event

    def crash(event: dg.AssetMaterialization) -> None:
        if not before_the_event:
            report(event)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ticks.instance, "report_runless_asset_event", crash)
        with pytest.raises(KeyboardInterrupt):
            ticks.tick()
    ticks.done(3)
    ticks.set(report_every_s=0.001)
    ticks.tick()
    ticks.tick()
    assert [(r["rows"], r["first_id"], r["last_id"]) for r in ticks.reports] == [(2, 1, 2), (1, 3, 3)]
    assert ask(ticks.ledger, "select sum(n) from ooda.request_rollup") == [(3,)]


def test_below_prefixes_the_report_goes_to_the_asset_of_these_names(make_ticks: MakeTicks) -> None:
    ticks = make_ticks(Names(key_prefix=("db",)))
    ticks.done(1)
    ticks.tick()
    assert ticks.instance.get_latest_materialization_event(dg.AssetKey(["db", "target", "inference_requests"]))
    assert ticks.reports == []


def test_somebody_else_s_asset_is_observed_and_not_materialized(make_ticks: MakeTicks) -> None:
    theirs = dg.AssetKey("their_requests")
    ticks = make_ticks(Names(sources={"inference_requests": theirs}))
    ticks.done(1)
    ticks.tick()
    assert ticks.instance.get_latest_materialization_event(theirs) is None
    (seen,) = ticks.instance.fetch_observations(theirs, limit=5).records
    assert seen.asset_observation is not None
    assert seen.asset_observation.metadata["rows"].value == 1


def test_a_dead_target_is_named_backed_off_and_stops_nobody(ticks: Ticks) -> None:
    dead = Reference.literal("postgresql://nobody@127.0.0.1:1/none")
    unset = Reference("env", "OODA_TEST_NOT_SET")
    more = {"dead": TargetConfig("dead", dead), "unset": TargetConfig("unset", unset)}
    ticks.ooda.config = Config(ticks.ooda.config.ledger, {**ticks.ooda.config.targets, **more})
    ticks.done(1)
    ticks.tick()
    assert f"{NAME}: 1 requests" in ticks.said
    assert "dead: 127.0.0.1:1/none does not answer" in ticks.said
    assert "unset: the environment variable OODA_TEST_NOT_SET is not set" in ticks.said
    ticks.tick()
    assert "asked again in" in ticks.said
