"""Does each kind of reference lead to its connection string, and does its error say what to set and nothing secret?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ooda_dagster.config import ConnectionReferenceError, Reference
from ooda_dagster.config.references import split_embedded
from ooda_dagster.embedded import Cluster

URL = "postgresql://me:hunter2@db:5432/shop"
SECRET = "hunter2"


def _python(script: str) -> Reference:
    return Reference.parse(f"command:{shlex.join([sys.executable, '-c', script])}")


def _error(reference: Reference) -> str:
    with pytest.raises(ConnectionReferenceError) as refused:
        reference.resolve()
    assert SECRET not in str(refused.value)
    return str(refused.value)


def test_an_environment_variable_holds_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Reference.parse("env:OODA_TEST_URL")
    monkeypatch.setenv("OODA_TEST_URL", f" {URL}\n")
    assert reference.resolve() == URL
    for value in ("", "  "):
        monkeypatch.setenv("OODA_TEST_URL", value)
        assert "environment variable OODA_TEST_URL is not set" in _error(reference)
    monkeypatch.delenv("OODA_TEST_URL")
    assert "environment variable OODA_TEST_URL is not set" in _error(reference)


def test_a_file_holds_the_connection_in_its_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "url with space"
    reference = Reference.parse(f"file:{path}")
    for text in (URL, f"\n{URL}\n", f"{URL}\nanother line\n"):
        path.write_text(text)
        assert reference.resolve() == URL
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Reference.parse("file:~/url with space").resolve() == URL


def test_a_file_that_holds_no_connection_is_named(tmp_path: Path) -> None:
    path = tmp_path / "url"
    reference = Reference.parse(f"file:{path}")
    assert f"{path} cannot be read: No such file" in _error(reference)
    path.write_text(" \n")
    assert f"{path} is empty" in _error(reference)
    path.write_bytes(SECRET.encode() + b"\xff\xfe\x00")
    assert f"{path} is no text" in _error(reference)
    assert "cannot be read: Is a directory" in _error(Reference.parse(f"file:{tmp_path}"))


def test_a_service_is_libpq_s_to_find(target_server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = conninfo_to_dict(target_server.dsn())
    services = tmp_path / "services"
    services.write_text("[shop]\n" + "".join(f"{key}={value}\n" for key, value in info.items()))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    with psycopg.connect(Reference.parse("service:shop").resolve()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_command_prints_the_connection_in_its_first_line() -> None:
    assert _python(f"print(); print(' {'postgresql://db'} '); print('more')").resolve() == "postgresql://db"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("print(chr(104) + 'unter2'); raise SystemExit(3)", "ended with status 3"),
        ("pass", "printed nothing"),
        ("import sys; sys.stdout.buffer.write(bytes([104, 255, 254]))", "cannot be run: UnicodeDecodeError"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9"),
    ],
)
def test_a_command_that_prints_no_connection_is_told_without_its_output(script: str, message: str) -> None:
    told = _error(_python(script))
    assert message in told
    assert script not in told


def test_a_command_that_is_not_there_is_named() -> None:
    assert "no-such-program cannot be run: FileNotFoundError" in _error(Reference.parse("command:no-such-program --x"))


def test_a_command_goes_through_no_shell(tmp_path: Path) -> None:
    marker = tmp_path / "made"
    assert Reference.parse(f"command:echo postgresql://db; touch {marker}").resolve().startswith("postgresql://db;")
    assert not marker.exists()


def test_an_embedded_server_is_found_where_it_runs(target_server: Cluster) -> None:
    with psycopg.connect(Reference.parse("embedded:ooda_observe@target/postgres").resolve()) as connection:
        assert connection.execute("select current_user, current_database()").fetchone() == ("ooda_observe", "postgres")
    assert "'nowhere' does not run; `ooda dev` and `ooda demo` start it" in _error(Reference.parse("embedded:nowhere"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ledger", ("postgres", "ledger", "postgres")),
        ("ledger/ooda", ("postgres", "ledger", "ooda")),
        ("me@target/shop", ("me", "target", "shop")),
    ],
)
def test_an_embedded_reference_names_user_cluster_and_database(value: str, expected: tuple[str, str, str]) -> None:
    assert split_embedded(value) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "env",
        "env:",
        "env: ",
        "env:two words",
        "env:a=b",
        "ENV:X",
        "literal:postgresql://db",
        "postgresql://db",
        "env://db",
        "service:shop host=db",
        "embedded:../../etc/x",
        "embedded:a/b/c",
        "command:echo 'never closed",
        "command:",
        URL,
        f"env:{URL}",
        f"command:psql {URL}",
        f"command:run PASSWORD = {SECRET}",
    ],
)
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"by reference only|a quote is not closed") as refused:
        Reference.parse(text)
    assert SECRET not in str(refused.value)
    assert len(text) < 10 or text not in str(refused.value)


def test_a_connection_of_the_command_line_shows_itself_nowhere() -> None:
    literal = Reference.literal(URL)
    assert literal.resolve() == URL
    assert SECRET not in f"{literal} {literal!r} {[literal]}"
