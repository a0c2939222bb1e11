"""Reads a target's table of embeddings by the owner's expressions: a sample of it, or all of it page by page.

A page is a statement and a transaction of its own, found by the index on the id: no snapshot is held for long, and a
page is all that is in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format

from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.embeddings import EmbeddingPage
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import MARKER, marked, query, trusted
from ooda_dagster.targets.postgres.request_mapping import told
from ooda_dagster.targets.postgres.vectors import KINDS, decode

_NAME = re.compile(r"(?:(?P<schema>[^.]+)\.)?(?P<name>[^.]+)\Z")
_MAPPED = ("id", "embedding", "model", "bucket")
#: Types of ids that can be gone through in order.
_IDS = {20: "bigint", 21: "bigint", 23: "bigint", 2950: "uuid", 25: "text", 1043: "text"}
#: A plan that reads a table of more than about this many pages from end to end for one page of ours is refused.
_MAX_SCAN_COST = 20_000.0
_MODEL_LENGTH = 200
#: So many times the wanted rows are asked for, as rows lie unevenly in the table; and at most so many are taken.
_AIM, _MOST = 1.3, 2
_REMEDY = "map its columns in [target.NAME.concepts] of ooda.toml, or set concepts.enabled = false"

_PAGE = "select {id}::{id_type} as id, {embedding} as embedding, left({model}::text, %(length)s) as model from {table}"
_SAMPLE = _PAGE.replace(" from ", ", hashtextextended({bucket}::text, 0) as bucket from ")
#: Of a table, random pages are read, of a view all there is; and of what is read, rows by the hash of their ids. Rows
#: of a page were written together and are alike: so more pages are read than are needed.
_OF_PAGES = " tablesample system (%(percent)s::real) repeatable (%(seed)s::float8)"
_OF_ROWS = " where abs(hashtextextended({id}::text, %(seed)s::bigint) %% 1000000) < %(keep)s::float8 * 1000000"
_MORE_PAGES = 16.0


class _Raw(Loader):
    """A vector's bytes as they come: numpy reads them faster than Python could."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


@dataclass(frozen=True)
class _Types:
    id: str
    embedding: str
    embedding_oid: int


class PostgresEmbeddingTable:
    """Implements `targets.embeddings.EmbeddingTable`."""

    def __init__(
        self, connection: psycopg.Connection[Any], found: Any, parts: dict[str, sql.Composable], types: _Types,
        *, buckets: bool,
    ) -> None:  # fmt: skip
        self._connection, self._parts, self._types = connection, parts, types
        self._pages, self._buckets = found.sampled, buckets
        self.label, self.oid, self.owner = found.label, found.oid, found.owner
        self.id_type, self.numeric = types.id, types.id == "bigint"

    def rows(self) -> float:
        """How many rows the planner expects."""
        return float(self._plan(self._composed("select 1 from {table}"), {})["Plan Rows"])

    def sample(self, rows: int, *, seed: int) -> EmbeddingPage:
        """About uniform, at most `rows`, in a random order; the same seed on an unchanged table gives the same.

        Raises TargetError where it cannot be read within the session's statement_timeout.
        """
        share = min(1.0, _AIM * rows / max(self.rows(), 1))
        text = self._composed(f"{_SAMPLE}{_OF_PAGES if self._pages else ''}{_OF_ROWS} limit %(limit)s {MARKER}")
        while True:
            of_pages = min(1.0, _MORE_PAGES * share) if self._pages else 1.0
            values = {"keep": share / of_pages, "seed": seed, "limit": _MOST * rows}
            found = self._fetch(text, values | ({"percent": 100 * of_pages} if self._pages else {}))
            if len(found) >= rows or share >= 1:
                break
            share = min(1.0, 4 * share)  # the planner expected more rows than there are
        if len(found) > rows:
            chosen = np.random.default_rng(seed).permutation(len(found))[:rows]
            found = [found[i] for i in chosen]
        buckets = len({row.bucket for row in found} - {None}) if self._buckets else None
        return self._read(found, buckets)

    def page(self, after: str | None, *, limit: int) -> EmbeddingPage:
        """The next rows by id, at most `limit`. Raises TargetError where no index leads with the id."""
        after_id = "" if after is None else " where {id} > %(after)s::{id_type}"
        text = self._composed(
            f"{_PAGE}{after_id or ' where {id} is not null'} order by {{id}} limit %(limit)s {MARKER}"
        )
        values = {"limit": limit} | ({} if after is None else {"after": after})
        if after is None and (cost := _scan_cost(self._plan(text, self._all(values)))) > _MAX_SCAN_COST:
            raise TargetError(
                f"going through {self.label} would scan the whole table for every page (cost {cost:,.0f}): no index "
                "leads with concepts.id; build one, or map it to an indexed column"
            )
        return self._read(self._fetch(text, values), None)

    def _composed(self, text: str) -> sql.Composed:
        return trusted(text).format(**self._parts)

    def _all(self, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "length": _MODEL_LENGTH}

    def _plan(self, text: sql.Composed, values: dict[str, Any]) -> dict[str, Any]:
        try:
            with foreign_code(self._connection):
                explain = sql.SQL("explain (format json) ") + text + trusted(f" {MARKER}")
                row = self._connection.execute(explain, values or None).fetchone()
        except psycopg.Error as error:
            raise told(error, f"looking at {self.label}") from error
        assert row is not None
        return row[0][0]["Plan"]

    def _fetch(self, text: sql.Composed, values: dict[str, Any]) -> list[Any]:
        cursor = self._connection.cursor(binary=True)
        cursor.adapters.register_loader(self._types.embedding_oid, _Raw)
        try:
            with foreign_code(self._connection), cursor:
                return cursor.execute(text, self._all(values)).fetchall()
        except psycopg.errors.QueryCanceled:
            raise TargetError(
                f"reading {self.label} took longer than the session's statement_timeout; a smaller "
                "concepts.sample_rows or concepts.chunk_rows reads less at once"
            ) from None
        except psycopg.Error as error:
            raise told(error, f"reading {self.label}") from error

    def _read(self, rows: list[Any], buckets: int | None) -> EmbeddingPage:
        vectors, rejected = decode([row.embedding for row in rows], self._types.embedding)
        last = str(_text(rows[-1].id)) if rows else None
        models, ids = [_text(row.model) for row in rows], [_text(row.id) for row in rows]
        return EmbeddingPage(len(rows), last, vectors, rejected, models, buckets, ids)


def find_embedding_table(connection: psycopg.Connection[Any], mapped: Concepts) -> PostgresEmbeddingTable | None:
    """The configured table; None where it is not there, not ours to read, or not wanted.

    Raises TargetError for an expression that is wrong, before any row is read.
    """
    if not mapped.enabled or not (names := _NAME.match(mapped.table)):
        return None
    try:
        found = connection.execute(query("find_embedding_table"), names.groupdict()).fetchone()
    except psycopg.Error as error:
        raise translate(error, "looking for embeddings") from error
    if found is None:
        return None
    # On lines of their own, as an expression may end with a comment.
    expressions = {name: trusted(f"({getattr(mapped, name)}\n)".replace("%", "%%")) for name in _MAPPED}
    parts: dict[str, sql.Composable] = {"table": sql.Identifier(found.schema, found.name), **expressions}
    types = _types(connection, parts, found.label)
    parts["id_type"] = trusted(types.id)
    buckets = mapped.bucket.lower() != "null"
    return PostgresEmbeddingTable(connection, found, parts, types, buckets=buckets)


def _types(connection: psycopg.Connection[Any], parts: dict[str, sql.Composable], label: str) -> _Types:
    """Types of the expressions; a wrong one is named here."""
    listed = ", ".join(f"{{{name}}} as {name}" for name in _MAPPED)
    text = trusted(f"select {listed} from {{table}} limit %s {MARKER}").format(**parts)  # noqa: S608
    try:
        with foreign_code(connection):
            # With a parameter: the server then takes one statement alone, whatever an expression holds.
            described = {c.name: c.type_code for c in connection.execute(text, (0,)).description or ()}
        named = marked("select t.typname as name from pg_catalog.pg_type t where t.oid = %s")
        row = connection.execute(named, (described["embedding"],)).fetchone()
    except psycopg.Error as error:
        raise told(error, f"reading {label}", f"{_REMEDY} ({label})") from error
    kind = row.name if row else "?"
    if kind not in KINDS:
        raise TargetError(
            f"{label}: concepts.embedding is of type {kind}; map it to a vector, a halfvec, a real[] or a "
            "double precision[]"
        )
    if described["id"] not in _IDS:
        raise TargetError(f"{label}: concepts.id is no whole number, uuid or text; map it to one that has an index")
    return _Types(_IDS[described["id"]], kind, described["embedding"])


def _scan_cost(plan: dict[str, Any]) -> float:
    """Cost of the dearest sequential scan in a plan."""
    own = float(plan["Total Cost"]) if "Seq Scan" in plan["Node Type"] else 0.0
    return max([own, *(_scan_cost(child) for child in plan.get("Plans", ()))])


def _text(value: Any) -> Any:
    """Text of a SQL_ASCII database comes as bytes of any encoding."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
