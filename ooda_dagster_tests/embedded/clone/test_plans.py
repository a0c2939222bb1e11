"""Does the clone plan as the real server does, without candidate indexes and with them?"""

from __future__ import annotations

import psycopg
import pytest

from ooda_dagster.embedded.clone import StatisticsClone
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.embedded.clone.shop import CANDIDATES, STATEMENTS, plan, shape
from ooda_dagster_tests.support import Database


@pytest.fixture(scope="module")
def offered(clone: StatisticsClone) -> StatisticsClone:
    assert set(clone.add_candidates(list(CANDIDATES.values()))) == set(CANDIDATES.values())
    return clone


@pytest.mark.parametrize("name", list(STATEMENTS))
def test_a_statement_is_planned_as_on_the_source(source: Database, clone: StatisticsClone, name: str) -> None:
    with psycopg.connect(source.superuser) as connection:
        real = plan(connection, STATEMENTS[name])
    cloned = clone.explain(STATEMENTS[name])
    assert shape(cloned) == shape(real)
    assert cloned["Plan Rows"] == pytest.approx(real["Plan Rows"], rel=0.01)
    assert cloned["Total Cost"] == pytest.approx(real["Total Cost"], rel=0.01)


@pytest.mark.parametrize("name", list(CANDIDATES))
def test_a_candidate_is_used_as_the_really_built_index_is(
    source: Database, offered: StatisticsClone, name: str
) -> None:
    candidate = CANDIDATES[name]
    with psycopg.connect(source.superuser) as connection:
        without = plan(connection, STATEMENTS[name])
        connection.execute(trusted(candidate.ddl(name="real_index", concurrently=False)))
        real = plan(connection, STATEMENTS[name])
        connection.rollback()
    cloned = offered.explain(STATEMENTS[name], on=[candidate])
    assert "real_index" in str(real)
    assert shape(cloned, {offered.index_name(candidate): "real_index"}) == shape(real)
    assert real["Total Cost"] < without["Total Cost"]
    assert cloned["Total Cost"] == pytest.approx(real["Total Cost"], rel=0.15, abs=10)


def test_generic_parameters_are_planned_as_on_the_source(source: Database, clone: StatisticsClone) -> None:
    sql = "select name from customers where region = $1 and points between $2 and $3"
    with psycopg.connect(source.superuser) as connection:
        row = connection.execute(trusted(f"explain (generic_plan, format json) {sql}")).fetchone()
    assert row is not None
    assert clone.explain(sql, generic=True)["Total Cost"] == pytest.approx(row[0][0]["Plan"]["Total Cost"], rel=0.01)


def test_hiding_an_index_plans_as_if_it_were_dropped(source: Database, clone: StatisticsClone) -> None:
    sql = STATEMENTS["by key"].replace("id = 77", "email = 'm7@example.org'")
    with psycopg.connect(source.superuser) as connection:
        connection.execute("alter table customers drop constraint customers_email_key")
        real = plan(connection, sql)
        connection.rollback()
    assert clone.explain(sql)["Index Name"] == "customers_email_key"
    hidden = clone.explain(sql, off=["public.customers_email_key"])
    assert shape(hidden) == shape(real)
    assert clone.explain(sql)["Index Name"] == "customers_email_key"
