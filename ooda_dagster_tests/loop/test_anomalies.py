"""Are odd requests found in a real table - by an index, within bounds, the same again, and without anybody's words?"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from ooda_dagster.core.messages import Observation
from ooda_dagster.loop.anomalies import MOST, Found, find_anomalies
from ooda_dagster.loop.context import Loop, utc_now
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.base import TargetError
from ooda_dagster_tests.loop.ground import begun, with_settings
from ooda_dagster_tests.loop.requests import Make, Service

#: Of two models, the second takes twice as long; what varies comes from the id, so that it is always the same.
_NORMAL = (
    "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, model_id, task_type, "
    "input_tokens, output_tokens) select {id}, 100 * (mod(g, 2) + 1) * exp(0.6 * (u[1] + u[2] + u[3] - 1.5)), "
    "'completed', now() - (%s - g) * interval '1 s', mod(g, 2), 'classify', 90 + 20 * u[4], 45 + 10 * u[5] "
    "from generate_series(1, %s) g, lateral (select array_agg((hashint8extended(g, n) & 65535) / 65535.0) as u "
    "from generate_series(1, 5) n) r"
)


def fill(service: Service, n: int = 1500, *, id_: str = "g") -> None:
    service.run(_NORMAL.format(id=id_), n, n)
    service.run("analyze inference_requests")


def slow(service: Service, ids: Sequence[Any], ms: int = 9000) -> None:
    service.run(
        "update inference_requests set total_duration_ms = %s where inference_id::text = any(%s)",
        ms, [str(i) for i in ids],
    )  # fmt: skip


def seen(service: Service) -> Observation:
    return observe(service.loop, begun(service.loop))


def found(service: Service, analysis_id: str = "a1", *, hours: float = 24) -> Found:
    with service.loop.target.observing("observe") as session:
        table = session.request_table(service.loop.settings.requests)
        assert table is not None
        now = utc_now()
        return find_anomalies(
            table, service.loop.settings, analysis_id=analysis_id, since=now - timedelta(hours=hours), now=now
        )


def test_planted_slow_requests_are_in_the_observation_with_both_scores_and_a_reason(service: Service) -> None:
    fill(service)
    slow(service, [300, 701, 1200])
    message = seen(service)
    assert message.anomaly_count is not None
    assert message.detection is not None
    assert (message.detection.requests, message.detection.policy) == (1500, "calibrated")
    assert 3 <= message.anomaly_count == len(message.anomalies) < 6
    assert (message.detection.held_out, message.detection.scored) == (1500, 1500)
    assert len(message.detection.digest) == 64
    assert message.detection.p_threshold is not None
    worst = {a.inference_request_id: a for a in message.anomalies[:3]}
    assert set(worst) == {"300", "701", "1200"}
    for request in worst.values():
        assert request.lof_score > 1
        assert 0 < request.isolation_score < 1
        assert (request.duration_ms, request.operation) == (9000, "classify")
        assert request.p_value is not None
        assert request.p_value < 0.005
        assert request.detection_method in ("robust_z", "several")
        assert request.feature in ("duration", "duration for its tokens")
        assert request.slowdown_factor == pytest.approx(9000 / request.avg_duration_ms)
    assert worst["300"].usual_ms == pytest.approx(100, rel=0.15)
    assert worst["701"].usual_ms == pytest.approx(200, rel=0.15)
    assert re.fullmatch(r"duration( for its tokens)?: \d\d\.\d times the usual", worst["300"].text)
    (body, *_) = message.body()["anomalies"]
    assert body.keys() >= {
        "InferenceRequestId", "ModelId", "DurationMs", "AvgDurationMs", "SlowdownFactor", "IsolationScore", "LOFScore",
        "DetectionMethod",
    }  # fmt: skip


def test_the_same_rows_under_the_same_analysis_have_the_same_scores(service: Service) -> None:
    fill(service, 600)
    slow(service, [300])
    assert found(service) == found(service)
    assert found(service).anomalies[0].isolation_score != found(service, "a2").anomalies[0].isolation_score


def test_only_the_newest_completed_requests_of_the_lookback_are_read(service: Service) -> None:
    fill(service, 400)
    service.run(
        "insert into inference_requests (inference_id, status) select g, 'pending' from generate_series(401, 450) g"
    )
    assert found(service, hours=100 / 3600).detection.requests == pytest.approx(100, abs=3)
    service.loop = _with_detect(service, max_rows=200)
    some = found(service).detection
    assert some.requests == 200
    service.loop = _with_detect(service, max_rows=10_000)
    assert found(service).detection.requests == 400


def test_many_older_requests_are_not_looked_at(service: Service) -> None:
    fill(service, 20_000)
    before = _fetched(service)
    service.loop = _with_detect(service, max_rows=500, reference_rows=0)
    assert found(service).detection.requests == 500
    after = _fetched(service)
    assert after[0] == before[0]
    assert after[1] - before[1] < 1500


def _fetched(service: Service) -> tuple[int, int]:
    (row,) = service.database.execute(
        "select pg_stat_force_next_flush(), seq_scan, idx_tup_fetch from pg_stat_user_tables "
        "where relname = 'inference_requests'"
    )
    return row[1], row[2]


def test_ids_of_any_type_are_read_by_time_and_only_a_uuid_or_a_number_is_told(make: Make) -> None:
    service = make("text")
    service.run("create index on inference_requests (request_timestamp)")
    known = str(uuid.uuid4())
    fill(service, 600, id_="'marker-' || g || '@example.com'")
    service.run("update inference_requests set inference_id = %s where inference_id like 'marker-301@%%'", known)
    slow(service, [known, "marker-302@example.com"])
    message = seen(service)
    ids = [a.inference_request_id for a in message.anomalies]
    assert known in ids[:2]
    hashed = next(i for i in ids[:2] if i != known)
    assert re.fullmatch("hash [0-9a-f]{1,16}", hashed)
    (row,) = service.run(
        "select inference_id from inference_requests where 'hash ' || to_hex(hashtextextended(inference_id, 0)) = %s",
        hashed,
    )
    assert row == ("marker-302@example.com",)
    assert "marker" not in json.dumps(message.body())


def test_a_request_without_an_id_is_told_without_one(make: Make) -> None:
    service = make("text")
    service.run("create index on inference_requests (request_timestamp)")
    fill(service, 300, id_="'r' || g")
    slow(service, ["r7"])
    service.set(id="nullif(inference_id, 'r7')")
    assert found(service).anomalies[0].inference_request_id == "(none)"


def test_too_few_requests_are_not_judged_and_the_observation_says_so(service: Service) -> None:
    service.done(*range(1, 8))
    message = seen(service)
    assert (message.anomaly_count, message.anomalies) == (None, [])
    assert message.detection is not None
    assert message.detection.not_judged == [
        "7 requests of 1 operation with fewer than 50 of them (detect.min_rows)",
    ]


def test_an_empty_table_is_no_blind_spot(service: Service) -> None:
    message = seen(service)
    assert message.detection is not None
    assert message.detection.not_judged == ["there is no completed request in the lookback"]
    assert not [b for b in message.blind_spots if "request" in b.what]


def test_switched_off_nothing_is_scored(service: Service) -> None:
    fill(service, 100)
    service.loop = _with_detect(service, enabled=False)
    message = seen(service)
    assert (message.anomaly_count, message.detection, message.total_inferences) == (None, None, 100)


def test_without_an_index_nothing_is_scored_and_the_reason_is_named(service: Service) -> None:
    fill(service, 1000)
    service.run("alter table inference_requests drop constraint inference_requests_pkey")
    service.run("alter table inference_requests add filler text")
    service.run("alter table inference_requests alter filler set storage plain")
    service.run("update inference_requests set filler = repeat(md5(random()::text), 200)")
    service.run("insert into inference_requests select r.* from inference_requests r, generate_series(1, 25)")
    service.run("analyze inference_requests")
    with pytest.raises(TargetError, match=r"no index leads with requests\.id"):
        found(service)


def test_many_odd_requests_are_counted_and_the_oddest_are_told(service: Service) -> None:
    fill(service, 1000)
    service.loop = _with_detect(service, policy="fixed", if_threshold=0.3)
    message = seen(service)
    assert message.anomaly_count is not None
    assert message.anomaly_count > 500
    assert len(message.anomalies) == MOST
    assert message.detection is not None
    assert message.detection.by_isolation_forest >= message.detection.by_lof
    far = [abs(a.robust_z) for a in message.anomalies if a.detection_method == "isolation_forest"]
    assert far == sorted(far, reverse=True)


def _with_detect(service: Service, **values: Any) -> Loop:
    return with_settings(service.loop, detect=values)


_SPREAD = (
    "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, model_id, task_type, "
    "input_tokens, output_tokens) select {id}, 100 * (mod(g, 2) + 1) * exp(0.6 * (u[1] + u[2] + u[3] - 1.5)), "
    "'completed', now() - (%s - g) * interval '20 s', mod(g, 2), 'classify', 90 + 20 * u[4], 45 + 10 * u[5] "
    "from generate_series(1, %s) g, lateral (select array_agg((hashint8extended(g, n) & 65535) / 65535.0) as u "
    "from generate_series(1, 5) n) r"
)


@pytest.mark.parametrize("numeric", [True, False])
def test_a_bad_hour_is_found_by_the_days_before_it(make: Make, numeric: bool) -> None:
    service, n = make("bigint" if numeric else "text"), 15_000
    service.run("create index on inference_requests (request_timestamp)")
    service.run(_SPREAD.format(id="g" if numeric else "g::text"), n, n)
    service.run("analyze inference_requests")
    slow(service, range(n - 399, n, 5), ms=4000)  # 80 of the newest 400: among themselves they are what is usual
    service.loop = _with_detect(service, max_rows=400, reference_rows=0)
    alone = found(service)
    assert (alone.count, alone.detection.reference) == (0, 0)
    service.loop = _with_detect(service, max_rows=400, reference_rows=4000)
    before = _fetched(service)
    told = found(service)
    after = _fetched(service)
    assert told.count is not None
    assert 78 <= told.count <= 92  # an eighth may be ordinary
    assert sum(a.duration_ms == 4000 for a in told.anomalies) > 0.9 * len(told.anomalies)
    assert told.detection.requests == 400
    assert 3800 <= told.detection.reference <= 4000
    assert told.detection.learned + told.detection.held_out == told.detection.reference
    assert told.detection.reference_since is not None
    days = (utc_now() - told.detection.reference_since).total_seconds() / 86_400
    assert days == pytest.approx(n * 20 / 86_400, rel=0.05)
    # 400, the sample, and what the bounds of the ids are found by.
    assert after[0] == before[0]
    assert after[1] - before[1] < 5500
    assert found(service) == told


def test_too_few_earlier_requests_are_no_reference(service: Service) -> None:
    fill(service, 2000)
    service.loop = _with_detect(service, max_rows=500)
    seen_by = found(service).detection
    assert (seen_by.reference, seen_by.reference_since, seen_by.held_out) == (0, None, 500)
