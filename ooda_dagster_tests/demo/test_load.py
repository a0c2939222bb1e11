"""Is the service's database what the plan says, and quick to have again?"""

from __future__ import annotations

import time

import numpy as np

from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.concept_vectors import unit
from ooda_dagster.core.concepts import find_clusters
from ooda_dagster.demo.load import prepare
from ooda_dagster.demo.planted import POOL, plan
from ooda_dagster.demo.schema import CONCEPTS, DIMENSIONS, ROWS
from ooda_dagster.embedded import Cluster
from ooda_dagster_tests.demo.conftest import SCALE
from ooda_dagster_tests.support import Database


def test_tables_are_full_analysed_and_the_services_own(service: Database) -> None:
    for table, rows in ROWS.items():
        wanted = max(1000, int(rows * SCALE))
        assert service.execute(f"select count(*) from {table}", dsn=service.app) == [(wanted,)]
    analysed = service.execute("select bool_and(reltuples > 0) from pg_class where relname = any(%s)", list(ROWS))
    assert analysed == [(True,)]
    assert service.execute("select distinct tableowner from pg_tables where schemaname = 'public'") == [
        ("inference_app",)
    ]


def test_full_size_is_what_was_promised() -> None:
    assert ROWS["inference_requests"] >= 300_000
    assert ROWS["atoms"] >= 200_000
    assert ROWS["atom_embeddings"] >= 200_000
    assert DIMENSIONS == 64


def test_planted_indexes_are_missing_and_all_others_there(service: Database) -> None:
    missing = {m.index for m in plan(1).missing}
    wanted = {m.index for m in POOL} - missing
    found = {name for name in service.indexes() if not name.endswith("_pkey")}
    assert found == wanted


def test_data_is_skewed_correlated_and_has_a_queue(service: Database) -> None:
    (heaviest, lightest) = service.execute(
        "select max(n), min(n) from (select count(*) n from inference_requests group by tenant_id)"
    )[0]
    assert heaviest > 20 * lightest
    models = service.execute(
        "select max(n) from (select count(distinct model_id) n from inference_requests group by tenant_id)"
    )[0][0]
    assert models <= 5, "a tenant uses few of the models"
    pending = "select count(*) from inference_requests where status = 'pending' and total_duration_ms is null"
    assert service.execute(pending) == [(200,)]


def test_embeddings_lie_around_concepts(service: Database) -> None:
    rows = service.execute("select embedding::real[] from atom_embeddings order by atom_embedding_id limit 3000")
    vectors, _, _ = unit(np.array([row[0] for row in rows], dtype=np.float32))
    assert len(find_clusters(vectors, Concepts(), seed=1).clusters) == CONCEPTS


def test_the_second_time_it_is_copied_not_loaded(service: Database, target_server: Cluster) -> None:
    said: list[str] = []
    started = time.monotonic()
    prepare(target_server, service.name, plan(2), scale=SCALE, say=said.append)
    assert said == []
    assert time.monotonic() - started < 10
