"""Can a person have concepts discovered and look at them, and does no number of an embedding come out?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster.core.concept_binding import grants
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.cli.conftest import Run
from ooda_dagster_tests.cli.test_privacy import files_of, ledger_dump
from ooda_dagster_tests.core.planted_concepts import directions, leaked, plant
from ooda_dagster_tests.support import Database


def test_concepts_are_discovered_listed_and_shown_and_no_embedding_comes_out(
    ooda: Run, configured: Callable[..., None], database: Database, ledger: Ledger, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))
    monkeypatch.setenv("OODA_CONFIG", "")  # so that what commands set is taken back
    monkeypatch.delenv("OODA_CONFIG")
    configured(database)
    database.execute(
        "create table atom_embeddings (atom_embedding_id int primary key, embedding real[], text text not null)",
        dsn=database.app,
    )
    vectors = plant(directions(3, 16, seed=1), 300, seed=1).vectors
    rows = ", ".join(f"({n}, array{vector.tolist()}, 'm4rktext7077')" for n, vector in enumerate(vectors))
    database.execute(f"insert into atom_embeddings values {rows}", dsn=database.app)

    before = ooda("concepts", "list", "--target", "shop")
    assert "ooda analyze --target shop --scope embeddings" in before.out
    wrong = ooda("analyze", "--target", "shop", "--scope", "nothing")
    assert wrong.code == 2
    assert all(scope in wrong.err for scope in ("'full'", "'performance'", "'embeddings'", "'models'"))

    analyzed = ooda("analyze", "--target", "shop", "--scope", "embeddings", "--json").json["observation"]
    assert (analyzed["scope"], len(analyzed["patterns"])) == ("embeddings", 3)
    assert analyzed["embeddings"]["rediscovered"]
    listed = ooda("concepts", "list", "--json").json
    names = [c["ConceptId"] for c in listed["concepts"]]
    assert (sum(c["ClusterSize"] for c in listed["concepts"]), len(listed["events"])) == (
        listed["embeddings"]["inConcepts"],
        3,
    )
    for_people = ooda("concepts", "list").out
    assert all(name in for_people for name in names)
    shown = ooda("concepts", "show", names[0][:8], "--json").json
    assert (shown["concept"]["concept_id"], [e["kind"] for e in shown["events"]]) == (names[0], ["born"])
    assert "is new" in ooda("concepts", "show", names[0]).out
    assert ooda("concepts", "show", "nothing").code == 2

    proposed = ooda("concepts", "bind", names[0][:8], "--approve", "--json").json["action"]
    assert (proposed["state"], proposed["spec"]["concept_id"]) == ("approved", names[0])
    assert "it waits until the mode is approve or auto" in ooda("concepts", "bind", names[1], "--approve").out
    assert ooda("concepts", "show", names[0], "--json").json["concept"]["binding"] == "approved"
    database.execute(" ".join(grants("ooda_act", [APP_ROLE])))
    configured(database, mode="approve")
    assert ooda("cycle", "--target", "shop").code == 0
    after = {c["ConceptId"]: c for c in ooda("concepts", "list", "--json").json["concepts"]}
    assert [after[name]["Binding"] for name in names] == ["bound", "bound", ""]
    members = "select count(*) from ooda.atom_concepts where concept_id = %s"
    assert database.execute(members, names[0], dsn=database.app) == [(after[names[0]]["ClusterSize"],)]
    for_people += ooda("concepts", "list").out + ooda("actions", "show", proposed["action_id"]).out
    assert ooda("actions", "rollback", proposed["action_id"]).code == 0
    assert database.execute(members, names[0]) == [(0,)]

    said = {"analyzed": str(analyzed), "listed": str(listed), "people": for_people, "shown": str(shown)}
    ledger_rows = ledger_dump(ledger)
    ledger_rows["concept"] = ""  # the centroids are kept there
    centroids = [c.vector for c in ledger.concepts.list("shop")]
    numbers = np.array([*vectors[:100], *centroids], dtype=np.float32)
    for where, text in {**said, **files_of(dagster_home), **ledger_rows}.items():
        assert "m4rktext7077" not in text, where
        assert leaked(numbers, text) == [], where
