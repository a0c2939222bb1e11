"""`ooda init`, `ooda config`: does the file that we write work, and is what is wrong with another named?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.cli.conftest import MARKER, Run


def test_init_writes_a_file_that_check_accepts(ooda: Run) -> None:
    assert "ooda.toml is written" in ooda("init").out
    ran = ooda("config", "check", "--json")

    assert ran.code == 0
    assert {name: t["mode"] for name, t in ran.json["targets"].items()} == {"shop": "propose"}


def test_init_overwrites_nothing_unless_told(ooda: Run, tmp_path: Path) -> None:
    path = tmp_path / "ooda.toml"
    path.write_text("mine")

    assert ooda("init").code == 2
    assert path.read_text() == "mine"
    assert ooda("init", "--force").code == 0
    assert path.read_text() != "mine"


def test_init_says_why_it_cannot_write(ooda: Run) -> None:
    ran = ooda("init", "no/such/folder/ooda.toml")

    assert ran.code == 2
    assert "no/such/folder/ooda.toml" in ran.err


def test_with_the_sql_for_the_roles_the_doctor_finds_nothing_to_mend(ooda: Run, home: Path) -> None:
    with Cluster(home / "clusters", "roles", preload=("pg_stat_statements",), durable=False) as cluster:
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(trusted(ooda("init", "--print-sql").out))
            connection.execute("alter role ooda_observe password 'x'")
            connection.execute("create table orders (id int primary key); analyze orders")
        ran = ooda("doctor", "--url", cluster.dsn(user="ooda_observe", password="x"), "--json")
    cluster.destroy()

    rows = [r for r in ran.json["rows"] if r["where"] not in ("here", "ledger")]
    assert ran.code == 0
    assert [r for r in rows if r["state"] != "ok"] == []
    assert {r["what"]: r["found"] for r in rows}["observing levels"].startswith("1, 2")


def test_a_missing_file_is_named(ooda: Run) -> None:
    ran = ooda("config", "check", "--config", "nowhere.toml")

    assert ran.code == 2
    assert "nowhere.toml does not exist; `ooda init` writes one" in ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[target.a]\nobserv = "env:X"\n', "ooda.toml"),
        ('[target.a]\nobserve = "env:X"\nmod = "auto"\n', "did you mean 'mode'?"),
        ('[target.a]\nobserve = "env:X"\nmode = "autos"\n', "mode must be one of observe, propose, approve, auto"),
        ('[target.a]\nobserve = "env:X"\nmode = "auto"\n', "no `act` connection"),
        (f'[target.a]\nobserve = "postgresql://u:{MARKER}@h/d"\n', "ooda.toml:2: target.a.observe: "),
        ("[target.a\n", "ooda.toml"),
    ],
)
def test_a_mistake_is_named_and_no_secret_shown(text: str, said: str, ooda: Run, tmp_path: Path) -> None:
    (tmp_path / "ooda.toml").write_text(text)
    ran = ooda("config", "check")

    assert ran.code == 2
    assert said in ran.err
    assert MARKER not in ran.out + ran.err


def test_effective_shows_every_setting_and_no_connection(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    short, full = ooda("config", "show").out, ooda("config", "show", "--effective").out

    assert "acting.approve_threshold" not in short
    assert "acting.approve_threshold" in full
    assert "env:TEST_OBSERVE_URL" in full
    assert MARKER not in full
    assert ooda("config", "show", "--json").json["targets"]["shop"]["sampling"]["bucket_s"] == 2
