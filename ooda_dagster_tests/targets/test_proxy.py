"""Is a pooler between us and the server noticed, and is acting through it refused by name?"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from ooda_dagster.targets.base import RefusedError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database

#: BackendKeyData: type, length 12, pid, secret. A pooler makes them up.
_KEY = re.compile(rb"K\x00\x00\x00\x0c(.{4})(.{4})", re.DOTALL)


def _forward(source: socket.socket, sink: socket.socket, *, lie: bool) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(
                _KEY.sub(lambda m: b"K\x00\x00\x00\x0c" + struct.pack("!i", 4711) + m[2], data) if lie else data
            )
    except OSError:
        pass
    finally:
        sink.close()


@contextmanager
def pooler(dsn: str) -> Iterator[str]:
    """A proxy in front of a server that hands out backend keys of its own, as PgBouncer does; its DSN."""
    parts = urlsplit(dsn)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((parts.hostname, parts.port))
            for arguments, lie in (((client, server), False), ((server, client), True)):
                threading.Thread(target=_forward, args=arguments, kwargs={"lie": lie}, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        login = parts.netloc.rpartition("@")[0]
        yield urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{listener.getsockname()[1]}"))
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_observing_through_a_pooler_works_and_says_so(database: Database) -> None:
    with pooler(database.observe) as dsn, PostgresTarget("t", dsn).observing("test") as session:
        assert session.capabilities().behind_proxy
        assert session.activity().database_bytes > 0


def test_acting_through_a_pooler_is_refused_by_name(database: Database) -> None:
    with pooler(database.act) as dsn:
        with pytest.raises(RefusedError, match=r"pooler.*the server's own port"):
            with PostgresTarget("t", dsn, dsn).acting("act"):
                pass


def test_a_direct_connection_is_no_pooler(database: Database) -> None:
    with PostgresTarget("t", database.observe, database.act).observing("test") as session:
        assert not session.capabilities().behind_proxy
