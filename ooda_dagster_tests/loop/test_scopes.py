"""Does an observation hold what its scope says, of the tenant that was asked for, under the document's names?"""

from __future__ import annotations

import pytest

from ooda_dagster.core import requests as core
from ooda_dagster.core.messages import Observation, Scope
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.loop.observe import observe
from ooda_dagster.loop.see_requests import see_requests
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import begun
from ooda_dagster_tests.loop.requests import Make, Service


@pytest.fixture
def tenants(service: Service) -> Service:
    """Of tenant 7, every third request, slower; one of its requests is in the future."""
    service.run("alter table inference_requests add tenant_id int")
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, model_id, "
        "tenant_id) select g, case when g % 3 = 0 then 300 else 100 end, "
        "case when g % 30 = 0 then 'failed' else 'ok' end, now() - g * interval '1 s', g % 2, "
        "case when g % 3 = 0 then 7 else 8 end from generate_series(1, 300) g"
    )
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, tenant_id) "
        "values (301, 5, 'ok', now() + interval '1 day', 7), (302, 5, 'what', now(), 8)"
    )
    service.run("analyze inference_requests")
    return service


def seen(service: Service, scope: Scope = "full", tenant: str | None = None, **more: float) -> Observation:
    cycle = begun(service.loop)
    message = observe(service.loop, cycle, scope=scope, tenant=tenant, **more)
    ended = "update ooda.cycle set state = 'finished' where analysis_id = :a"
    ask(service.loop.ledger, ended, a=cycle.analysis_id)
    return message


def test_each_scope_holds_what_it_says(tenants: Service) -> None:
    full, performance = seen(tenants), seen(tenants, "performance")
    for message in (full, performance):
        assert message.statements_seen > 0
        assert (message.total_inferences, message.anomaly_count is not None) == (300, True)
        assert [m.model_id for m in message.models] == ["0", "1"]
    models = seen(tenants, "models")
    assert (models.statements, models.anomaly_count, models.detection) == ([], None, None)
    assert [(m.model_id, m.requests, m.failed) for m in models.models] == [("0", 150, 10), ("1", 150, 0)]
    assert models.models[0].avg_duration_ms == pytest.approx(50 / 150 * 300 + 100 / 150 * 100)
    assert models.models[0].max_duration_ms == 300
    embeddings = seen(tenants, "embeddings")
    assert (embeddings.statements, embeddings.total_inferences, embeddings.models) == ([], None, [])
    assert [m.scope for m in (full, performance, models, embeddings)] == [
        "full", "performance", "models", "embeddings",
    ]  # fmt: skip


def test_the_message_has_the_document_s_names(tenants: Service) -> None:
    body = seen(tenants, "performance", "7", lookback_hours=0.5).body()
    names = {"analysisId", "scope", "lookbackHours", "totalInferences", "avgDurationMs", "anomalyCount", "anomalies"}
    assert body.keys() >= names | {"queryStoreRecommendations", "patterns", "timestamp"}
    assert (body["scope"], body["tenant"], body["lookbackHours"]) == ("performance", "7", 0.5)
    assert body["timestamp"].endswith("Z")


@pytest.mark.parametrize("tenant", ["7", "8", "nobody", "7' or '1' = '1"])
def test_a_tenant_s_requests_are_counted_and_scored_alone(tenants: Service, tenant: str) -> None:
    message = seen(tenants, tenant=tenant)
    known = {"7": (100, 300, {core.FUTURE: 1}), "8": (200, 100, {core.UNKNOWN: 1})}
    n, mean, irregular = known.get(tenant, (0, None, {}))
    assert (message.total_inferences, message.avg_duration_ms, message.irregular) == (n, mean, irregular)
    assert message.tenant == tenant
    assert sum(m.requests for m in message.models) == n
    assert message.detection is not None
    assert message.detection.requests == n
    assert tenants.rolled_up == 300  # what is counted is everybody's, whoever asks


def test_a_tenant_is_found_by_time_where_ids_are_no_numbers(make: Make) -> None:
    service = make("uuid default gen_random_uuid()")
    service.run("alter table inference_requests add owner text; create index on inference_requests (request_timestamp)")
    service.run(
        "insert into inference_requests (total_duration_ms, status, owner) "
        "select 5, 'ok', case when g % 4 = 0 then 'ann' else 'ben' end from generate_series(1, 400) g"
    )
    service.set(tenant="upper(owner)")
    assert seen(service, tenant="ANN").total_inferences == 100
    assert seen(service, tenant="JIM").total_inferences == 0


@pytest.mark.parametrize("rows", [37, 101])
def test_a_tenant_s_requests_are_summed_in_parts(tenants: Service, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    whole = seen(tenants, "models", "7")
    monkeypatch.setattr("ooda_dagster.targets.postgres.requests._PART_ROWS", rows)
    assert seen(tenants, "models", "7").models == whole.models


def test_a_table_without_tenants_says_so_and_is_observed_without_one(service: Service) -> None:
    service.done(1, 2)
    assert seen(service).total_inferences == 2
    message = seen(service, tenant="7")
    assert message.total_inferences is None
    (spot,) = [s for s in message.blind_spots if s.what == "inference requests"]
    assert "tenant_id" in spot.why
    assert "map its columns" in spot.why


def test_models_of_a_lookback_that_the_rollups_do_not_cover_are_summed_at_the_source(tenants: Service) -> None:
    tenants.run(
        "update inference_requests set request_timestamp = now() - interval '20 hours' where inference_id < 101"
    )
    assert seen(tenants, "models").total_inferences == 200
    message = seen(tenants, "models", lookback_hours=48)
    assert message.total_inferences == 300
    assert sum(m.requests for m in message.models) == 300


def test_what_was_asked_is_read_once_and_told_to_nobody_else(tenants: Service) -> None:
    blind: list[BlindSpot] = []
    with tenants.loop.target.observing("observe") as session:
        found = see_requests(tenants.loop, session, begun(tenants.loop), blind, hours=1, score=False, tenant="7")
    assert found.total == 100
    assert found.odd is None
    assert [spot.why for spot in blind] == [core.FUTURE]
