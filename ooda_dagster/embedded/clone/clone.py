"""A scratch server with a target's schema and statistics and none of its rows: what would the planner do, if ...?

Order matters: definitions on heaps of no size, statistics, sizes of files, questions. After the sizes are set nothing
is ever executed on the clone, only explained. It ranks; it promises nothing: about one plan in ten differs from the
real one, so the backend is kept with each hypothesis and the verdict decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from ooda_dagster.core.btree_size import PAGE_BYTES, IndexSize, KeyColumn, btree_size
from ooda_dagster.core.errors import server_words
from ooda_dagster.core.identifiers import qualified, quote_identifier
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.embedded.clone.files import btree_skeleton, segments
from ooda_dagster.embedded.clone.report import CloneReport
from ooda_dagster.embedded.clone.schema import Carried, rebuild
from ooda_dagster.embedded.clone.scratch import Pages, Scratch
from ooda_dagster.embedded.clone.settings import copy_settings
from ooda_dagster.embedded.clone.source import Source, query, trusted
from ooda_dagster.embedded.clone.statistics import carry, restore_relations
from ooda_dagster.embedded.cluster import Cluster

_OLDEST = 18  # the first version that restores statistics
#: Where a btree's pages are few, its height is too small to matter.
_SKELETON_FROM_PAGES = 3

_SETTINGS = {
    "autovacuum": "off",  # it would measure the empty heaps
    "shared_buffers": "16MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_connections": 20,
    # What fails here was made of a user's values: the log would keep them.
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}


def clone_cluster(home: Path) -> Cluster:
    """The scratch server: without checksums, as pages are written past it; without durability, as nothing is kept.

    Processes share it, so it outlives the one that started it; the last to use it stops it.
    """
    return Cluster(home, "clone", preload=(), settings=_SETTINGS, durable=False, checksums=False, stop_at_exit=False)


class StatisticsClone:
    """One scratch database. `report.blind` names all that is not as on the source."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._clone = scratch.session
        self._names: dict[IndexSpec, str] = {}
        self._offered = 0
        self.report = CloneReport()

    @classmethod
    def build(
        cls,
        source: psycopg.Connection[Any],
        cluster: Cluster,
        *,
        database: str,
        relations: Collection[tuple[str, str]] | None = None,
    ) -> StatisticsClone:
        """Build it in a database of a running `cluster`, whose name begins like `database`.

        source: an autocommit session of a role with pg_monitor and SELECT; it is left as it was found.
        relations: (schema, table) to carry, with their partitions and parents; None: all of them.
        """
        started = time.monotonic()
        clone = cls(Scratch(cluster, database))
        try:
            clone._build(Source(source), relations)
        except BaseException:
            clone.drop()
            raise
        clone.report.build_s = time.monotonic() - started
        return clone

    def _build(self, source: Source, relations: Collection[tuple[str, str]] | None) -> None:
        version = self._clone.info.server_version // 10_000
        if version < _OLDEST:
            raise RuntimeError(f"a statistics clone needs PostgreSQL {_OLDEST}, and this server is {version}")
        self.report.source_version, self.report.clone_version = source.major, version
        self._clone.execute(
            "set check_function_bodies = off; set search_path = ''; set datestyle = ISO; set timezone = 'UTC'; "
            "set intervalstyle = postgres; set bytea_output = hex; set client_min_messages = error; "
            "set statement_timeout = '60s'"
        )
        path = [quote_identifier(s) for s in source.search_path()]
        with source.reading():
            carried = rebuild(source, self._scratch, self.report, relations)
            carry(source, self._clone, self.report, carried)
            others = {quote_identifier(r.schema) for r in carried.relations.values()} - set(path)
            copy_settings(source, self._clone, self.report, [*path, *sorted(others)])
        self._set_sizes(carried)

    # ------------------------------------------------------------------ sizes

    def _set_sizes(self, carried: Carried) -> None:
        """Give every file the size that it has on the source."""
        keys = self._index_keys()
        wanted = []
        for row in (*carried.relations.values(), *carried.indexes.values()):
            pages, head = max(row.bytes // PAGE_BYTES, 0), b""
            if getattr(row, "method", "") == "btree" and pages >= _SKELETON_FROM_PAGES:
                head = btree_skeleton(_height(pages, keys.get((row.schema, row.name), [])))
            wanted.append(Pages(qualified(row.schema, row.name), pages, head))
        self._scratch.flush()
        self._scratch.set_pages(wanted)
        self._forget_indexes([w.relation for w in wanted if w.head])

    def _forget_indexes(self, names: Sequence[str]) -> None:
        """Have the session read metapages anew."""
        self._clone.execute("select clone_admin.show(%s::regclass[], true)", (list(names),))

    def _index_keys(self, name: str | None = None) -> dict[tuple[str, str], list[tuple[bool, KeyColumn]]]:
        """(is a key, column) of the clone's indexes, with the statistics that were carried."""
        found: dict[tuple[str, str], list[tuple[bool, KeyColumn]]] = {}
        for row in self._clone.execute(trusted(query("read_clone_keys")), {"name": name}):
            schema, index, is_key, length, align, width, null_frac, distinct, freqs, merges = row
            column = KeyColumn(
                length,
                align,
                width or (length if length > 0 else 32),
                null_frac or 0.0,
                distinct if distinct is not None else -0.5,
                freqs or (),
                merges,
            )
            found.setdefault((schema, index), []).append((is_key, column))
        return found

    # ------------------------------------------------------------------ candidates

    def add_candidates(self, candidates: Sequence[IndexSpec]) -> dict[IndexSpec, IndexSize]:
        """Create candidate indexes, invisible until `explain` shows them.

        One that cannot be created is left out, its reason in `report.blind`. Heaps are emptied for the moment: a build
        would read their sparse files.
        """
        tables = sorted({c.relation for c in candidates})
        heaps = [segment for table in tables for segment in self._heap_segments(table)]
        rows = {c: self._partial_rows(c) for c in candidates if c.where}
        made: list[IndexSpec] = []
        self._scratch.flush()
        for file, _ in heaps:
            os.truncate(file, 0)
        try:
            for candidate in candidates:
                if self._partitioned(candidate.relation):
                    self.report.blind[f"candidate {candidate.definition}"] = "the table is partitioned: offer it parts"
                    continue
                name = f"ooda_candidate_{self._offered}"
                self._offered += 1
                try:
                    self._clone.execute(trusted(candidate.ddl(name=name, concurrently=False)))
                except psycopg.Error as error:
                    self.report.blind[f"candidate {candidate.definition}"] = server_words(error)
                    continue
                self._names[candidate] = name
                made.append(candidate)
        finally:
            for file, size in heaps:
                os.truncate(file, size)
        restore_relations(self._clone)
        return self._size_candidates(made, rows)

    def _size_candidates(self, made: list[IndexSpec], partial: dict[IndexSpec, float]) -> dict[IndexSpec, IndexSize]:
        keys = self._index_keys("ooda_candidate_%")
        sizes: dict[IndexSpec, IndexSize] = {}
        wanted, restored = [], []
        for candidate in made:
            name = self._names[candidate]
            rows = partial.get(candidate, self._rows(candidate.relation))
            columns = keys.get((candidate.schema, name), [])
            size = _candidate_size(candidate, rows, columns)
            sizes[candidate] = size
            skeleton = candidate.method == "btree" and size.pages >= _SKELETON_FROM_PAGES
            head = btree_skeleton(size.height) if skeleton else b""
            wanted.append(Pages(qualified(candidate.schema, name), size.pages, head))
            restored.append((candidate.schema, name, size.pages, rows))
        self._scratch.set_pages(wanted)
        with self._clone.cursor() as cursor:
            cursor.executemany(
                "select pg_catalog.pg_restore_relation_stats('schemaname', %s::text, 'relname', %s::text, 'relpages', "
                "%s::int, 'reltuples', %s::real)",
                restored,
            )
        self._clone.execute("select clone_admin.show(%s::regclass[], false)", ([w.relation for w in wanted],))
        return sizes

    def _rows(self, table: str) -> float:
        row = self._clone.execute(
            "select reltuples from pg_catalog.pg_class where oid = pg_catalog.to_regclass(%s)", (table,)
        ).fetchone()
        return float(max(row[0], 0)) if row else 0.0

    def _partitioned(self, table: str) -> bool:
        row = self._clone.execute(
            "select relkind = 'p' from pg_catalog.pg_class where oid = pg_catalog.to_regclass(%s)", (table,)
        ).fetchone()
        return bool(row and row[0])

    def _heap_segments(self, table: str) -> list[tuple[Path, int]]:
        path = self._scratch.path(table)
        return segments(path) if path else []

    def _partial_rows(self, candidate: IndexSpec) -> float:
        """Rows of a partial index: the planner's own estimate of its predicate."""
        try:
            plan = self._explained(f"explain (format json) select 1 from {candidate.relation} where {candidate.where}")  # noqa: S608
        except psycopg.Error:
            return 0.0
        return float(plan["Plan Rows"])

    def index_name(self, candidate: IndexSpec) -> str:
        """The name by which a plan mentions a candidate."""
        return self._names[candidate]

    # ------------------------------------------------------------------ questions

    def explain(
        self, sql: str, *, on: Iterable[IndexSpec] = (), off: Iterable[str] = (), generic: bool = False
    ) -> dict[str, Any]:
        """Plan of `sql`, as EXPLAIN (FORMAT JSON) tells its top node; nothing of it stays.

        on: candidates that are visible; off: qualified names of existing indexes that are not; generic: parameters are
        left as they are. Raises psycopg.Error where the clone cannot plan it.
        """
        shown = [qualified(c.schema, self._names[c]) for c in on]
        hidden = list(off)
        options = "format json, generic_plan" if generic else "format json"
        with self._clone.transaction(force_rollback=True):
            for names, valid in ((shown, True), (hidden, False)):
                if names:
                    self._clone.execute("select clone_admin.show(%s::regclass[], %s)", (names, valid))
            return self._explained(f"explain ({options}) {sql}")

    def _explained(self, text: str) -> dict[str, Any]:
        row = self._clone.execute(trusted(text)).fetchone()
        assert row is not None
        return row[0][0]["Plan"]

    def drop(self) -> None:
        """Drop the scratch database."""
        self._scratch.close()


def _candidate_size(candidate: IndexSpec, rows: float, columns: list[tuple[bool, KeyColumn]]) -> IndexSize:
    keys = [c for is_key, c in columns if is_key]
    include = [c for is_key, c in columns if not is_key]
    if candidate.method == "btree":
        return btree_size(rows, keys, include, unique=candidate.unique)
    width = sum(k.avg_width for k in keys) + 16
    return IndexSize(max(2, int(rows * width / 0.7 / PAGE_BYTES)), 0)


def _height(pages: int, columns: list[tuple[bool, KeyColumn]]) -> int:
    """Height of an existing btree, from its pages and the width of its first key: its metapage cannot be read."""
    keys = [c for is_key, c in columns if is_key]
    width = 20.0 if not keys else 8 + max(8.0, keys[0].avg_width) + 4
    fan_out = max(2.0, (PAGE_BYTES - 40) * 0.7 / width)
    height, level = 0, pages - 1.0
    while level > 1:
        level /= fan_out
        height += 1
    return height
