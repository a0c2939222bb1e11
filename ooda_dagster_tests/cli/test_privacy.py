"""Does a value of the user's leave the places for it: one ledger table, and the statements that a person wrote?"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import metadata
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.cli.conftest import Ran, Run
from ooda_dagster_tests.loop.requests import DDL
from ooda_dagster_tests.support import Database, make_orders, work

#: One marker for each place that a value may come from, so that a leak says which.
PLACES = (
    "literal", "running", "prompt", "password", "raised", "cast", "default", "comment", "common", "check", "theirs",
    "connection", "requested", "proposed", "expression", "refused", "file",
)  # fmt: skip
M = {name: f"m4rk{name}7077" for name in PLACES}

PLANT = f"""
alter table orders alter note set default '{M["default"]}';
comment on table orders is '{M["comment"]}'; comment on column orders.status is '{M["comment"]}';
update orders set status = '{M["common"]}' where id % 3 = 0;
alter table orders add constraint fine check (note <> '{M["check"]}');
create index theirs on orders (placed) where status = '{M["theirs"]}';
create function boom(int) returns int language plpgsql immutable as
  $$ begin raise exception 'never show {M["raised"]}' using errcode = '42501', hint = '{M["raised"]}'; end $$;
update orders set note = '{M["cast"]}' where id = 7;
analyze orders;
"""


def leaks(texts: dict[str, str]) -> set[tuple[str, str]]:
    """(where, which marker) of all that is found in some texts."""
    return {(where, name) for where, text in texts.items() for name, marker in M.items() if marker in text}


def ledger_dump(ledger: Ledger) -> dict[str, str]:
    with connection(ledger.engine) as conn:
        return {
            table.name: "\n".join(conn.execute(sa.text(f"select t::text from {table.fullname} t")).scalars())
            for table in metadata.sorted_tables
        }


def files_of(directory: Path) -> dict[str, str]:
    """All that stands in files, and in SQLite's also what is in their rows."""
    found = {}
    for file in directory.rglob("*"):
        if file.is_file():
            found[file.name] = found.get(file.name, "") + file.read_bytes().decode(errors="replace")
        if file.suffix == ".db":
            with sqlite3.connect(file) as stored:
                found[f"{file.name}, dumped"] = "\n".join(stored.iterdump())
    return found


@pytest.fixture
def planted(
    database: Database, configured: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A target full of markers, in mode auto; Dagster's home, which is empty."""
    make_orders(database, 60_000)
    database.execute(PLANT, dsn=database.app)
    database.execute(
        DDL.format(id="bigint") + f"; alter table inference_requests add prompt text default '{M['prompt']}'; "
        "insert into inference_requests (inference_id, request_timestamp, total_duration_ms, status, task_type) select "
        f"g, now(), 5, '{M['requested']}', 'o' from generate_series(1, 20) g",
        dsn=database.app,
    )
    configured(database, mode="auto")
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    yield home
    os.environ.pop("OODA_CONFIG", None)


def statements(database: Database, role: str) -> None:
    database.execute(f"create role {role} password '{M['password']}'; drop role {role}")
    for n in range(40):
        database.execute(
            f"select count(*), max(note) from orders where customer = {n} and note <> '{M['literal']}'",
            dsn=database.app,
        )
    work(database, 40)
    for text in (
        f"select '{M['cast']}'::int",
        "select boom(1)",
        f"insert into orders values (1, 1, '', now(), '{M['check']}')",
    ):
        with pytest.raises(psycopg.Error):
            database.execute(text, dsn=database.app)


@pytest.mark.slow
@pytest.mark.parametrize("days", [7, 0])
def test_a_marker_is_in_no_ledger_dagster_log_or_report(
    ooda: Run, planted: Path, database: Database, ledger: Ledger, tmp_path: Path, days: int
) -> None:
    toml = tmp_path / "ooda.toml"
    toml.write_text(
        toml.read_text()
        + f"[target.shop.sampling]\nkeep_literals_d = {days}\n[target.shop.advice]\nmin_statement_total_ms = 5\n"
    )
    said: dict[str, str] = {}

    def run(*arguments: str) -> Ran:
        done = ooda(*arguments)
        key = " ".join(a for a in arguments if "create index" not in a.lower())
        said[key] = said.get(key, "") + done.out + done.err
        return done

    role = f"role_{uuid.uuid4().hex[:8]}"
    run("sample", "--target", "shop")
    statements(database, role)
    with psycopg.connect(database.app, autocommit=True) as session:
        for _ in range(2):
            session.execute(trusted(f"select 1 from orders where id = 1 and note = '{M['running']}'"))
            run("sample", "--target", "shop")
        told = [
            run("actions", "propose", "--target", "shop", "--approve", "--sql", text)
            for text in (
                f"create index on orders (placed) where status <> '{M['proposed']}'",
                f"create index on orders ((coalesce(note, '{M['expression']}')))",
                "create index on orders (boom(customer))",
                "create index on orders ((status::int))",
            )
        ]
        assert [t.code for t in told] == [0, 0, 0, 0], told
        assert run("cycle", "--target", "shop").code == 0
        assert run("cycle", "--target", "shop", "--json").code == 0
    broken = f"create index on orders (customer) where '{M['refused']}"
    assert run("actions", "propose", "--target", "shop", "--sql", broken).code == 2
    file = tmp_path / "w.jsonl"
    file.write_text(
        f'{{"sql": "select * from orders where customer = 1 and note = \'{M["file"]}\'"}}\n'
        f'{{"sql": "select * frm orders where \'{M["file"]}\'"}}\n'
    )
    states = {a.state for a in ledger.actions.list("shop")}
    assert {"failed", "verifying"} <= {str(s) for s in states}, [
        (a.state, a.error) for a in ledger.actions.list("shop")
    ]
    assert M["theirs"] in database.execute("select pg_get_indexdef('theirs'::regclass)")[0][0]
    for command in (
        ["status"], ["improvements"], ["learning"], ["actions", "list"], ["queues", "list"], ["history"], ["doctor"],
        ["config", "show"],
        ["verify-due", "--target", "shop"], ["recover", "--target", "shop"], ["analyze", "--target", "shop"],
        ["advise", "--target", "shop", "--min-statement-ms", "1"],
        ["advise", "--target", "shop", "--workload", str(file)],
        ["actions", "rollback", "--since", "1h", "--target", "shop"],
    ):  # fmt: skip
        run(*command)
        run(*command, "--json")

    # Evidence of everything, also of what failed or is judged still, and whether it holds together without literals.
    evidence = tmp_path / "evidence"
    for action in ledger.actions.list("shop"):
        file = evidence / f"{action.action_id}.json"
        run("actions", "export", action.action_id, "--out", str(file))
        assert run("verify", str(file)).code == 0, said[f"verify {file}"]
    taken_out = [text for text in files_of(evidence).values() if "'?'" in text and '"exact": false' in text]
    assert len(taken_out) >= 2, "statements of people had literals"
    assert leaks(files_of(evidence)) == set()

    assert leaks(said) == set()
    kept = files_of(planted)
    assert sum("ooda/action_results" in text for text in kept.values()) > 0
    assert leaks(kept) == set()
    exact = {(table, name) for table in ("action", "journal") for name in ("proposed", "expression")}
    sampled = {("sampled_text", name) for name in ("running", "literal", "common")}  # common: for an undo
    found = leaks(ledger_dump(ledger))
    assert found - exact - sampled == set()
    assert ("sampled_text", "running") in found or not days
    assert not found & sampled or days
    # Who approves reads what they approve.
    one = next(a for a in ledger.actions.list("shop") if M["proposed"] in a.statements[0])
    assert M["proposed"] in ooda("actions", "show", one.action_id).out


@pytest.mark.slow
@pytest.mark.parametrize("days", [7, 0])
def test_statistics_that_an_undo_holds_are_in_the_one_table_for_literals(
    ooda: Run, planted: Path, database: Database, ledger: Ledger, tmp_path: Path, days: int
) -> None:
    """A common value of a column: before the ANALYZE that the loop does, in its undo, and while that undo fails."""
    toml = tmp_path / "ooda.toml"
    toml.write_text(
        toml.read_text()
        + f"[target.shop.sampling]\nkeep_literals_d = {days}\n[target.shop.advice]\nmin_statement_total_ms = 5\n"
        + "[target.shop.acting]\napprove_threshold = 1\n"
    )
    database.execute(
        "create domain word as text; alter table orders alter status type word, set (autovacuum_enabled = off); "
        "analyze orders; update orders set status = 'other'"
    )
    said: dict[str, str] = {}

    def run(*arguments: str) -> Ran:
        done = ooda(*arguments)
        said[" ".join(arguments)] = said.get(" ".join(arguments), "") + done.out + done.err
        return done

    run("sample", "--target", "shop")
    statements(database, f"role_{uuid.uuid4().hex[:8]}")
    run("sample", "--target", "shop")
    assert run("cycle", "--target", "shop", "--json").code == 0
    (action,) = [a for a in ledger.actions.list("shop") if a.action_type == "UpdateStatistics"]
    assert (str(action.state), action.undo_kind) == ("verifying", "exact" if days else "none"), action.error
    shown = run("actions", "show", action.action_id).out
    assert ("$1: the statistics from before, 5 columns" if days else "undo   none: sampling.keep_literals_d") in shown
    found = leaks(ledger_dump(ledger))
    assert ("sampled_text", "common") in found or not days
    assert found - {("sampled_text", name) for name in M} == set()

    database.execute(f"alter domain word add check (value <> '{M['common']}') not valid")
    refused = run("actions", "rollback", action.action_id, "--target", "shop")
    assert ("does not take the earlier statistics" if days else "there is no undo") in refused.out
    database.execute("alter domain word drop constraint word_check")
    again = run("actions", "rollback", action.action_id, "--target", "shop", "--json")
    assert (again.code == 0) == bool(days)
    common = database.execute("select most_common_vals::text from pg_stats where attname = 'status'")[0][0]
    assert (M["common"] in common) == bool(days)
    for command in (["actions", "show", action.action_id], ["actions", "list"], ["status"], ["doctor"]):
        run(*command)
        run(*command, "--json")
    file = tmp_path / "evidence" / "one.json"
    run("actions", "export", action.action_id, "--out", str(file))
    assert run("verify", str(file)).code == 0, said[f"verify {file}"]
    assert leaks(files_of(file.parent)) == set()
    assert leaks(said) == set()
    assert leaks(files_of(planted)) == set()
    assert leaks(ledger_dump(ledger)) - {("sampled_text", name) for name in M} == set()


@pytest.mark.slow
def test_an_error_of_a_phase_is_kept_without_the_rows_that_it_quotes(
    ooda: Run, planted: Path, database: Database, ledger: Ledger, tmp_path: Path
) -> None:
    """The mapped expression fails on a value, raises, and divides by nothing; the password is wrong."""
    toml = tmp_path / "ooda.toml"
    written = toml.read_text()
    said = {}
    for mapped in (
        "status::float8",
        "boom(1)::float8",
        "public.boom(1)::float8",
        f"1 / (prompt = '{M['refused']}')::int",
    ):
        toml.write_text(written + f'[target.shop.requests]\nduration_ms = "{mapped}"\n')
        said[mapped] = ooda("cycle", "--target", "shop").out
        said[mapped] += ooda("cycle", "--target", "shop", "--json").out
    assert all("reading public.inference_requests: " in told for told in said.values()), said
    os.environ["TEST_OBSERVE_URL"] = database.observe.replace("@127", f"{M['connection']}@127")
    dead = ooda("cycle", "--target", "shop")
    assert dead.code == 3
    assert leaks({**said, "dead": dead.out + dead.err}) == set()
    assert leaks(files_of(planted)) == set()
    assert leaks(ledger_dump(ledger)) - {("sampled_text", name) for name in M} == set()  # the one table for literals
