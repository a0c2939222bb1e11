"""`ooda doctor`: is what is missing named with the statement that mends it, and does the statement mend it?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster_tests.cli.conftest import MARKER, Run, role_of
from ooda_dagster_tests.support import Database, make_orders


def rows(ooda: Run, *arguments: str) -> dict[str, dict[str, Any]]:
    """Findings that are not ok, by what they are about."""
    ran = ooda("doctor", *arguments, "--json")
    return {
        r["what"]: r for r in ran.json["rows"] if r["state"] != "ok" and r["where"] not in ("here", "ledger", "dagster")
    }


def test_each_remedy_is_a_statement_that_mends_what_it_stands_beside(
    ooda: Run, database: Database, reader: str
) -> None:
    make_orders(database, 1000)
    database.execute("drop extension pg_stat_statements")
    before = rows(ooda, "--url", reader)
    assert before
    for row in before.values():
        if row["remedy"].upper().startswith(("GRANT", "CREATE")):
            database.execute(row["remedy"])
    after = rows(ooda, "--url", reader)

    assert {r["state"] for r in before.values()} == {"warn"}
    assert f"GRANT pg_monitor TO {role_of(reader)};" in {r["remedy"] for r in before.values()}
    assert not [r for r in after.values() if r["remedy"].upper().startswith(("GRANT", "CREATE"))]


def test_the_acting_role_is_told_which_grant_it_lacks(
    ooda: Run, database: Database, configured: Callable[..., None]
) -> None:
    make_orders(database, 100)
    database.execute("create role other_owner; create table theirs (k int); alter table theirs owner to other_owner")
    configured(database, mode="approve")
    try:
        found = rows(ooda, "--target", "shop")["tables of other_owner"]
        assert found["remedy"] == "GRANT other_owner TO ooda_act WITH INHERIT FALSE, SET TRUE;"
        database.execute(found["remedy"])
        assert "tables of other_owner" not in rows(ooda, "--target", "shop")
    finally:
        database.execute("drop table theirs; drop role other_owner")


def test_what_binding_of_concepts_lacks_is_named_with_statements_that_mend_it(
    ooda: Run, database: Database, configured: Callable[..., None]
) -> None:
    configured(database, mode="approve")
    assert "binding of concepts" not in rows(ooda, "--target", "shop")  # there are no embeddings
    database.execute(
        "create table atom_embeddings (atom_embedding_id int primary key, embedding real[])", dsn=database.app
    )
    found = rows(ooda, "--target", "shop")["binding of concepts"]
    assert found["state"] == "warn"
    database.execute(found["remedy"])
    assert "binding of concepts" not in rows(ooda, "--target", "shop")
    may = "select has_schema_privilege(%s, 'ooda', 'create'), has_schema_privilege(%s, 'ooda', 'usage')"
    assert database.execute(may, "ooda_act", APP_ROLE) == [(True, True)]


def test_what_the_acting_role_lacks_is_named_with_the_grants_that_mend_it(
    ooda: Run, database: Database, configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    make_orders(database, 10)
    database.execute(f"revoke create on schema public from {APP_ROLE}")
    configured(database, mode="approve")
    monkeypatch.setenv("TEST_ACT_URL", reader)
    acting = ("load, for acting", f"tables of {APP_ROLE}", f"schemas of {APP_ROLE}")
    found = rows(ooda, "--target", "shop")
    assert set(acting) <= found.keys()
    for what in acting:
        database.execute(found[what]["remedy"])
    assert not set(acting) & rows(ooda, "--target", "shop").keys()


def test_an_analyze_that_could_not_be_undone_is_told_before(
    ooda: Run, database: Database, configured: Callable[..., None], tmp_path: Path
) -> None:
    configured(database, mode="approve")
    ran = ooda("doctor", "--target", "shop", "--json").json["rows"]
    (row,) = [r for r in ran if r["what"] == "undo of ANALYZE"]
    assert (row["state"], row["found"]) == ("ok", "the statistics from before are held for 7 days")
    toml = tmp_path / "ooda.toml"
    toml.write_text(toml.read_text() + "[target.shop.sampling]\nkeep_literals_d = 0\n")
    row = rows(ooda, "--target", "shop")["undo of ANALYZE"]
    assert "sampling.keep_literals_d = 0" in row["found"]


def test_nobody_is_told_to_let_the_acting_role_become_a_superuser(
    ooda: Run, database: Database, configured: Callable[..., None]
) -> None:
    database.execute("create table of_the_superuser (a int)")
    configured(database, mode="approve")
    row = rows(ooda, "--target", "shop")["tables of postgres"]
    assert "must not become" in row["found"]
    assert "GRANT" not in row["remedy"]


def test_acting_on_another_database_than_observed_fails_by_name(
    ooda: Run, database: Database, configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(database, mode="approve")
    monkeypatch.setenv("TEST_ACT_URL", Database(database.cluster, "postgres").act)
    row = rows(ooda, "--target", "shop")["acting"]
    assert row["state"] == "fail"
    assert "`act` to database postgres" in row["found"]


def test_without_statement_statistics_it_is_said_what_remains(ooda: Run, database: Database) -> None:
    database.execute("drop extension pg_stat_statements")
    row = rows(ooda, "--url", database.observe)["statement statistics"]
    assert "what remains" in row["found"]
    assert "CREATE EXTENSION pg_stat_statements" in row["remedy"]


def test_a_target_that_does_not_answer_fails_with_3_and_names_the_reference(
    ooda: Run, configured: Callable[..., None]
) -> None:
    configured(mode="approve")
    ran = ooda("doctor")

    assert ran.code == 3
    assert "the connection is env:TEST_OBSERVE_URL" in ran.out
    assert "Something does not work." in ran.out
    assert MARKER not in ran.out + ran.err


def test_a_remedy_stands_on_one_line_through_a_pipe(ooda: Run, database: Database, reader: str) -> None:
    lines = ooda("doctor", "--url", reader).out.splitlines()

    assert f"    GRANT pg_monitor TO {role_of(reader)};" in lines


def test_the_doctor_changes_nothing(ooda: Run, database: Database, configured: Callable[..., None]) -> None:
    configured(database, mode="approve")
    before = database.execute("select count(*), max(oid) from pg_class")
    ooda("doctor")

    assert database.execute("select count(*), max(oid) from pg_class") == before


def test_whether_analyses_can_be_asked_for_is_a_row_and_no_warning(ooda: Run, database: Database, reader: str) -> None:
    def row() -> dict[str, Any]:
        found = {r["what"]: r for r in ooda("doctor", "--url", reader, "--json").json["rows"]}
        return found["ooda.request_analysis"]

    assert (row()["state"], row()["found"]) == ("ok", "not installed (optional): ooda init --print-sql")
    script = ooda("init", "--print-sql").out
    database.execute(script[script.index("BEGIN;") :])
    assert row()["state"] == "warn"
    database.execute(row()["remedy"])
    assert (row()["state"], row()["found"]) == ("ok", "installed")


def test_files_of_requests_are_a_row_and_a_torn_one_is_named(
    ooda: Run, configured: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    def requests() -> list[tuple[str, str]]:
        found = ooda("doctor", "--target", "shop", "--json").json["rows"]
        return [(r["state"], r["found"]) for r in found if r["what"] == "inference requests"]

    configured(database, requests=f"{{ parquet = '{tmp_path}/*.parquet' }}")
    assert requests() == [("warn", f"no file matches {tmp_path}/*.parquet yet")]
    select = "select 1 as inference_id, now() as request_timestamp, 5 as total_duration_ms, 'ok' as status, "
    select += "'m' as model_id, 'chat' as task_type, 1 as input_tokens, 1 as output_tokens"
    with duckdb.connect() as connection:
        connection.execute(f"copy ({select}) to '{tmp_path}/a.parquet' (format parquet)")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    torn = f"{tmp_path}/b.parquet: it is torn or still being written: it has no Parquet footer"
    assert requests() == [("warn", torn), ("ok", "1 Parquet file with 1 row")]
