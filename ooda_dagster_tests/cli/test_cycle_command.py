"""`ooda cycle`, `analyze`, `sample`, `recover`, `status`: one turn by hand, told to people and to programs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ooda_dagster.core.settings import with_profile
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.cli.conftest import Run, command
from ooda_dagster_tests.support import Database, make_orders, room, wait_until

SLOW = "select count(note) from orders where customer = %s"


def busy(database: Database, calls: int) -> None:
    for n in range(calls):
        database.execute(SLOW, n, dsn=database.app)


def busy_enough(database: Database) -> None:
    """Until the statement is above the floor of what is worth advice, however fast the machine is."""
    query = (
        "select coalesce(sum(total_exec_time), 0) from pg_stat_statements s join pg_database d on d.oid = s.dbid "
        "where d.datname = current_database() and s.query like 'select count(note)%'"
    )
    while database.execute(query)[0][0] < 2 * with_profile("short").advice.min_statement_total_ms:
        busy(database, 10)


@pytest.fixture
def url(database: Database, ledger_server: Cluster) -> str:
    """A database with orders, by the role that observes; the ledger is the embedded one."""
    make_orders(database, 60_000)
    return database.observe


@pytest.mark.slow
def test_a_cycle_proposes_as_json_and_changes_nothing(process: Run, database: Database, url: str) -> None:
    assert process("sample", "--url", url, "--profile", "short", "--name", database.name).code == 0
    busy_enough(database)
    before = database.indexes()
    ran = process("cycle", "--url", url, "--profile", "short", "--name", database.name, "--json")

    assert ran.code == 0, ran.err
    assert ran.json["mode"] == "propose"
    (found,) = ran.json["hypotheses"]["hypotheses"]
    assert "ON public.orders USING btree (customer)" in found["Statements"][0]
    assert ran.json["action_results"]["executedActions"] == 0
    assert database.indexes() == before


@pytest.mark.slow
def test_a_cycle_for_people_shows_statement_and_decision(process: Run, database: Database, url: str) -> None:
    process("sample", "--url", url, "--profile", "short", "--name", database.name)
    busy_enough(database)
    ran = process("cycle", "--url", url, "--profile", "short", "--name", database.name, "--dry-run")

    assert ran.code == 0, ran.err
    assert "mode propose, dry run" in ran.out
    lines = [line.strip() for line in ran.out.splitlines()]
    assert any(line.startswith("CREATE INDEX CONCURRENTLY") and line.endswith("btree (customer);") for line in lines)
    assert any("mode propose: nothing is changed" in line for line in lines)
    assert any(line.startswith("Next cycle: ") for line in lines)


@pytest.mark.slow
def test_a_cycle_on_an_empty_database_ends_well(process: Run, database: Database, ledger_server: Cluster) -> None:
    ran = process("cycle", "--url", database.observe, "--name", database.name, "--json")

    assert ran.code == 0, ran.err
    assert ran.json["hypotheses"]["hypotheses"] == []
    assert ran.json["learning_delta"]["nextDueAt"]


@pytest.mark.slow
def test_analyze_observes_only(process: Run, database: Database, url: str) -> None:
    ran = process("analyze", "--url", url, "--name", database.name, "--json")

    assert ran.code == 0, ran.err
    assert ran.json["observation"] is not None
    assert ran.json["hypotheses"] is None


@pytest.mark.slow
def test_analyze_tells_of_a_scope_and_of_a_tenant(process: Run, database: Database, url: str) -> None:
    database.execute(
        "create table inference_requests (inference_id bigint primary key, request_timestamp timestamptz, "
        "total_duration_ms int, status text, model_id int, task_type text, input_tokens int, output_tokens int, "
        "tenant_id text); insert into inference_requests select g, now(), 50, 'ok', g % 2, 'chat', 1, 1, "
        "case when g % 3 = 0 then 'ann' else 'ben' end from generate_series(1, 30) g; "
        "grant select on inference_requests to public"
    )
    common = ("analyze", "--url", url, "--name", database.name)
    ran = process(*common, "--scope", "models", "--tenant", "ann", "--json")

    assert ran.code == 0, ran.err
    seen = ran.json["observation"]
    assert (seen["scope"], seen["tenant"], seen["totalInferences"], seen["statements"]) == ("models", "ann", 10, [])
    assert [m["requests"] for m in seen["models"]] == [5, 5]
    ran = process(*common, "--scope", "models")
    assert "30 inference requests in 24 h, 50 ms on average." in ran.out
    assert "Requests by model" in ran.out
    assert "Where the time goes" not in ran.out
    assert process(*common, "--scope", "everything").code == 2


@pytest.mark.slow
def test_a_dead_target_ends_a_cycle_with_3(process: Run, ledger_server: Cluster) -> None:
    ran = process("cycle", "--url", "postgresql://nobody:m4rker-secret@127.0.0.1:1/x", "--json")

    assert (ran.code, ran.out) == (3, "")
    assert "error: 127.0.0.1:1/x does not answer" in ran.err
    assert "m4rker" not in ran.err


@pytest.mark.slow
def test_a_cycle_runs_on_a_ledger_of_ones_own(
    process: Run, database: Database, configured: Callable[..., None], ledger: Ledger
) -> None:
    configured(database)
    with room("cycle") as home:
        ran = process("cycle", "--json", OODA_HOME=str(home))

    assert ran.code == 0, ran.err
    assert [c.analysis_id for c in ledger.cycles.latest("shop")] == [ran.json["analysis_id"]]


def test_samples_are_told_first_and_then_as_work(
    ooda: Run, database: Database, configured: Callable[..., None]
) -> None:
    make_orders(database, 1000)
    configured(database)
    first = ooda("sample")
    busy(database, 7)
    second = ooda("sample", "--json").json

    assert "first sample of" in first.out
    assert (second["first"], second["error"]) == (False, None)
    assert second["calls"] >= 7


def test_a_sample_of_a_dead_target_is_told_and_3(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda("sample", "--json")

    assert ran.code == 3
    assert "does not answer" in ran.json["error"]


def test_ctrl_c_ends_the_loop_of_samples_and_leaves_nothing(
    database: Database, configured: Callable[..., None], tmp_path: Path
) -> None:
    configured(database)
    argv = command("sample", "--loop", "--every", "0.5")
    child = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    first = child.stdout.readline()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)

    assert child.returncode == 0
    assert "first sample" in first
    assert "Traceback" not in out + err
    wait_until(lambda: sessions(database) == 0, what="the end of our sessions")


def sessions(database: Database) -> int:
    query = "select count(*) from pg_stat_activity where datname = %s and application_name like 'ooda/%%'"
    return int(database.execute(query, database.name)[0][0])


def test_the_status_of_a_target_that_was_never_seen(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda("status", "--json")

    assert [(t["target"], t["mode"], t["last_cycle_at"]) for t in ran.json["targets"]] == [("shop", None, None)]
    assert "never seen" in ooda("status").out


def test_the_status_tells_of_alerts_and_whether_anybody_was_told(
    ooda: Run, configured: Callable[..., None], ledger: Ledger
) -> None:
    configured()
    assert ooda("status", "--json").json["alerts"] == []
    assert ledger.alerts.raise_("run_failed", "k", "shop", "shop: ooda_cycle failed: no answer", run_id="r")
    (alert,) = ooda("status", "--json").json["alerts"]
    assert (alert["kind"], alert["target"], alert["delivered_at"], alert["detail"]) == (
        "run_failed",
        "shop",
        None,
        {"run_id": "r"},
    )
    told = ooda("status", "--target", "shop").out
    assert "not yet" in told
    assert "shop: ooda_cycle failed: no answer" in told


def test_the_status_of_an_unknown_target_is_2(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda("status", "--target", "shopp")

    assert ran.code == 2
    assert "did you mean 'shop'?" in ran.err


def test_there_are_no_improvements_yet(ooda: Run, configured: Callable[..., None]) -> None:
    configured()

    assert "No action has ended yet." in ooda("improvements").out
    assert ooda("improvements", "--json").json["improvements"] == []


def test_there_is_nothing_to_recover(ooda: Run, database: Database, configured: Callable[..., None]) -> None:
    configured(database, mode="approve")

    assert "nothing to recover" in ooda("recover").out
    assert ooda("recover", "--json").json["recovered"] == []


def test_a_proposal_by_hand_is_listed_and_shown(
    ooda: Run, database: Database, configured: Callable[..., None], ledger: Ledger
) -> None:
    make_orders(database, 20_000)
    configured(database)
    sql = "create index by_note on orders (status, customer)"
    made = ooda("actions", "propose", "--sql", sql, "--approve", "--why", "report", "--json").json["action"]
    listed = ooda("actions", "list", "--state", "approved", "--json").json["actions"]
    shown = ooda("actions", "show", made["action_id"][:8])

    assert made["state"] == "approved"
    assert [a["action_id"] for a in listed] == [made["action_id"]]
    assert f"  does   {made['statements'][0]};" in shown.out.splitlines()
    assert f"  undo   {made['undo'][0]};" in shown.out.splitlines()
    assert ooda("actions", "rollback", made["action_id"]).code == 4  # nothing of it is live
    assert os.getenv("TEST_ACT_URL", "x") not in shown.out
