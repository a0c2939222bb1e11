"""What goes wrong has one exit code each and a helpful word; a password is printed nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster_tests.cli.conftest import MARKER, Run
from ooda_dagster_tests.support import Database

DEAD = f"postgresql://nobody:{MARKER}@127.0.0.1:1/nothing"
ASKING = [["advise"], ["sample"], ["recover"], ["actions", "propose", "--sql", "create index on t (k)"]]


@pytest.mark.parametrize("words", ASKING, ids=lambda w: w[0])
def test_a_dead_target_is_3(words: list[str], ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda(*words, "--url", DEAD)

    assert ran.code == 3
    assert "Connection refused" in ran.out + ran.err or "connection" in ran.out + ran.err
    assert MARKER not in ran.out + ran.err


@pytest.mark.parametrize("words", ASKING, ids=lambda w: w[0])
def test_a_wrong_password_is_3(
    words: list[str], ooda: Run, configured: Callable[..., None], target_server: Cluster
) -> None:
    configured()
    ran = ooda(*words, "--url", target_server.dsn(user="ooda_observe", password=MARKER))

    assert ran.code == 3
    assert "password" in ran.out + ran.err
    assert MARKER not in ran.out + ran.err


@pytest.mark.parametrize("words", [["sample"], ["cycle"], ["analyze"], ["recover"], ["advise"], ["doctor"]])
def test_an_unknown_target_is_2_with_the_nearest_name(
    words: list[str], ooda: Run, configured: Callable[..., None]
) -> None:
    configured()
    ran = ooda(*words, "--target", "shopp")

    assert ran.code == 2
    assert "no target 'shopp'; did you mean 'shop'?" in ran.err


@pytest.mark.parametrize("url", [f"postgresql://u:{MARKER}@h:port/d", f"nonsense {MARKER}", "mysql://h/d", ""])
@pytest.mark.parametrize("command", ["advise", "sample", "doctor"])
def test_a_url_that_is_none_is_2(url: str, command: str, ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda(command, "--url", url)

    assert ran.code == 2
    assert "postgresql://" in ran.err
    assert MARKER not in ran.out + ran.err


def test_an_environment_variable_that_is_not_set_is_named(
    ooda: Run, configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured()
    monkeypatch.delenv("TEST_OBSERVE_URL")
    ran = ooda("sample")

    assert ran.code == 2
    assert "TEST_OBSERVE_URL" in ran.err


def test_a_ledger_that_does_not_answer_is_3(
    ooda: Run, configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured()
    monkeypatch.setenv("TEST_LEDGER_URL", DEAD)
    ran = ooda("status")

    assert ran.code == 3
    assert "ledger" in ran.err
    assert MARKER not in ran.out + ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["cycle", "--mode", "auto", "--url", DEAD],
        ["sample", "--profile", "short"],
        ["sample", "--url", DEAD, "--profile", "quick"],
        ["sample", "--url", DEAD, "--target", "shop"],
        ["actions", "rollback"],
        ["actions", "rollback", "--since", "soon"],
        ["actions", "list", "--state", "lost"],
        ["actions", "show", "ffff"],
        ["cycle", "--lookback-hours", "-1"],
    ],
)
def test_a_wrong_use_is_2(words: list[str], ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda(*words)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert MARKER not in ran.err


def test_a_refusal_is_4(ooda: Run, configured: Callable[..., None], database: Database) -> None:
    database.execute("create table tiny (k int primary key)", dsn=database.app)
    configured(database)

    for sql, why in {
        "create index on tiny (k)": "serves the same",
        "create index on tiny (k desc, k)": "small",
    }.items():
        ran = ooda("actions", "propose", "--sql", sql)
        assert ran.code == 4
        assert why in ran.err


def test_sql_that_is_no_index_is_2(ooda: Run, configured: Callable[..., None], database: Database) -> None:
    configured(database)

    for sql in ("drop table x", "create unique index on x (k)", "create index on nowhere (k)", "garbage"):
        assert ooda("actions", "propose", "--sql", sql).code == 2
