"""The scratch database of one clone: made, filled by a role that may do nothing else, its files set, dropped.

Functions, views and expressions come from the source, whose users may have put anything into them, and the planner
calls functions. So all that comes from there is created and explained by a role without rights on the server.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ooda_dagster.embedded.clone.files import set_size
from ooda_dagster.embedded.cluster import Cluster

_ROLE, _PREFIX, _LOCK = "clone_planner", "clone_", 0x636C6F6E
_MAX_LABEL = 40

#: `show` makes indexes visible to the planner, or not: only ever in a transaction that is rolled back, or at once
#: after they were made.
_SETUP = """
create schema clone_meta; grant usage, create on schema clone_meta to clone_planner;
create extension pg_buffercache schema clone_meta;
create schema clone_admin; grant usage on schema clone_admin to clone_planner;
create function clone_admin.show(indexes regclass[], visible bool) returns void language sql security definer
set search_path = pg_catalog, pg_temp begin atomic
    update pg_catalog.pg_index i set indisvalid = visible from pg_catalog.pg_class c
    join pg_catalog.pg_roles r on r.oid = c.relowner and r.rolname = 'clone_planner'
    where i.indexrelid = any(indexes) and c.oid = i.indexrelid;
end;
"""


@dataclass(frozen=True)
class Pages:
    """How many pages a relation shall have, and what the first of them hold."""

    relation: str
    pages: int
    head: bytes = b""


class Scratch:
    """A database on the scratch server `cluster`. `session` is the planner's, `close` drops it all."""

    def __init__(self, cluster: Cluster, label: str) -> None:
        self._cluster = cluster
        # Two processes may clone the same target.
        self.database = f"{_PREFIX}{label.removeprefix(_PREFIX)[:_MAX_LABEL]}_{secrets.token_hex(4)}"
        with _making(cluster) as server:
            server.execute(
                sql.SQL("create database {} template template0 strategy file_copy owner {}").format(
                    sql.Identifier(self.database), sql.Identifier(_ROLE)
                )
            )
            # Its connection is what tells others that it is in use.
            self._admin = psycopg.connect(cluster.dsn(self.database), autocommit=True, connect_timeout=10)
        try:
            self._admin.execute("set search_path = ''; set client_min_messages = error")
            self._admin.execute(_SETUP)
            dsn = cluster.dsn(self.database, user=_ROLE)
            self.session = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
        except BaseException:
            self._drop()
            raise

    def create_extension(self, statement: sql.SQL) -> None:
        """Extensions are our own server's; before anything of the source is in the database."""
        self._admin.execute(statement)

    def path(self, relation: str) -> Path | None:
        """A relation's first file; None where it has none."""
        row = self._admin.execute(
            "select pg_catalog.pg_relation_filepath(pg_catalog.to_regclass(%s))", (relation,)
        ).fetchone()
        return self._cluster.data_dir / row[0] if row and row[0] else None

    def set_pages(self, wanted: Iterable[Pages]) -> None:
        """Give relations their sizes, past the server; it forgets what it has read of them."""
        for item in wanted:
            path = self.path(item.relation)
            if path is None:
                continue
            # A metapage that stays in its buffers would tell of an empty tree.
            self._admin.execute("select clone_meta.pg_buffercache_evict_relation(%s::regclass)", (item.relation,))
            set_size(path, item.pages, item.head)

    def flush(self) -> None:
        """Write out what later would be written over our files."""
        self._admin.execute("checkpoint")

    def close(self) -> None:
        self.session.close()
        self._drop()

    def _drop(self) -> None:
        self._admin.close()
        self._cluster.drop_database(self.database)


@contextmanager
def _making(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """A session on the server while nobody else makes or clears up clones; what dead processes left is cleared up."""
    with psycopg.connect(cluster.dsn(), autocommit=True, connect_timeout=10) as server:
        server.execute("select pg_catalog.pg_advisory_lock(%s)", (_LOCK,))
        left = server.execute(
            "select datname from pg_catalog.pg_database d where datname like %s and not exists "
            "(select from pg_catalog.pg_stat_activity a where a.datid = d.oid)",
            (_PREFIX.replace("_", "\\_") + "%",),
        ).fetchall()
        for (name,) in left:
            server.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(name)))
        known = server.execute("select from pg_catalog.pg_roles where rolname = %s", (_ROLE,)).fetchone()
        verb = "create" if known is None else "alter"
        server.execute(
            sql.SQL(verb + " role {} login nosuperuser password {}").format(
                sql.Identifier(_ROLE), sql.Literal(cluster.password)
            )
        )
        if known is None:
            server.execute(sql.SQL("grant pg_read_all_data, pg_write_all_data to {}").format(sql.Identifier(_ROLE)))
        yield server
