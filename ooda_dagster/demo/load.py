"""Fills the service's tables by COPY, once: a template database from which every run starts within a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import psycopg
from psycopg import sql

from ooda_dagster.config.servers import APP_ROLE, make_roles
from ooda_dagster.demo.planted import POOL, Plan
from ooda_dagster.demo.schema import CONCEPTS, DDL, DIMENSIONS, EXTENSIONS, ROWS, SCHEMA_VERSION, UNRELATED
from ooda_dagster.embedded import Cluster

MODELS, TENANTS, SESSIONS, SOURCES = 24, 400, 6_000, 20_000
MODALITIES = ("text", "image", "audio", "video", "code")
SUBTYPES = ("sentence", "paragraph", "caption", "frame", "function", "table")
TASKS = ("completion", "embedding", "classification", "rerank")
TYPES = ("semantic", "syntactic", "hybrid")
BUCKETS = 300
_DAYS = 90
_BATCH = 20_000
#: PostgreSQL's timestamps count microseconds from here.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Say = Callable[[str], None]


def template_name(scale: float) -> str:
    return f"demo_template_{SCHEMA_VERSION}_{round(scale * 1000)}"


def prepare(cluster: Cluster, database: str, plan: Plan, *, scale: float = 1.0, say: Say = lambda _: None) -> None:
    """Make `database` in the start state of a plan: the template's data, without the planted indexes."""
    template = template_name(scale)
    if not _complete(cluster, template):
        _load(cluster, template, scale, say)
    cluster.drop_database(database)
    cluster.create_database(database, template=template)
    with psycopg.connect(cluster.dsn(database), autocommit=True) as connection:
        for missing in plan.missing:
            connection.execute(sql.SQL("drop index {}").format(sql.Identifier(missing.index)))
        # A service that has run for long has its working set in memory; one that starts gets faster by itself.
        connection.execute(
            "select pg_prewarm(c.oid) from pg_class c where c.relkind in ('r', 'i') "
            "and c.relnamespace = 'public'::regnamespace and c.relpages > 0"
        )


def _complete(cluster: Cluster, template: str) -> bool:
    """Whether the template was filled to its end: the mark is written last."""
    if not cluster.database_exists(template):
        return False
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        row = connection.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = %s", (template,)
        ).fetchone()
    return bool(row and row[0] == "complete")


def _load(cluster: Cluster, template: str, scale: float, say: Say) -> None:
    started = time.monotonic()
    make_roles(cluster)
    cluster.drop_database(template)
    cluster.create_database(template)
    rows = {table: max(1000, int(count * scale)) for table, count in ROWS.items()}
    chance = np.random.default_rng(20_260)
    with psycopg.connect(cluster.dsn(template), autocommit=True) as connection:
        connection.execute(EXTENSIONS.encode())
        connection.execute(sql.SQL("grant create on schema public to {}").format(sql.Identifier(APP_ROLE)))
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(APP_ROLE)))
        connection.execute(DDL.encode())
        fill = {
            "inference_requests": _requests,
            "atoms": _atoms,
            "atom_embeddings": _embeddings,
            "inference_cache": _cache,
        }
        for table, generate in fill.items():
            say(f"loading {rows[table]:,} rows into {table}")
            generate(connection, rows, chance)
        for table in ("inference_requests", "atom_embeddings"):
            connection.execute(
                sql.SQL("select setval({}, {})").format(sql.Literal(f"{table}_id"), sql.Literal(rows[table] + 1))
            )
        say("building its indexes")
        for index in POOL:
            connection.execute(index.ddl.encode())
        connection.execute("reset role")
        connection.execute("vacuum (analyze)")
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        mark = sql.SQL("comment on database {} is 'complete'").format(sql.Identifier(template))
        connection.execute(mark)
    say(f"loaded in {time.monotonic() - started:.0f} s")


def zipf(chance: np.random.Generator, count: int, size: int, skew: float) -> np.ndarray:
    """`size` draws of 0..count-1, with weights 1/(rank^skew)."""
    weights = 1.0 / np.arange(1, count + 1) ** skew
    return chance.choice(count, size, p=weights / weights.sum())


def _moments(chance: np.random.Generator, size: int) -> np.ndarray:
    """Growing moments over the last days, in microseconds since 2000, denser by day than by night."""
    now = (datetime.now(UTC) - _EPOCH).total_seconds() * 1e6
    spread = np.sort(chance.random(size)) * _DAYS * 86_400e6
    wave = np.sin(spread / 86_400e6 * 2 * np.pi) * 2 * 3_600e6
    return np.sort(now - _DAYS * 86_400e6 + spread + wave - 3 * 3_600e6).astype("int64")


def _text_time(micros: np.ndarray) -> list[str]:
    moments = np.datetime64("2000-01-01T00:00:00", "us") + micros.astype("timedelta64[us]")
    return [f"{m}+00" for m in moments.astype(str)]


def _hex(chance: np.random.Generator, size: int, length: int = 40) -> list[str]:
    raw = chance.bytes(size * length // 2).hex()
    return [raw[i * length : (i + 1) * length] for i in range(size)]


def _copy(connection: psycopg.Connection, table: str, values: Sequence[Sequence[object]]) -> None:
    """Text COPY of all columns in their order; none of our values needs escaping."""
    statement = sql.SQL("copy {} from stdin").format(sql.Identifier(table))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, len(values[0]), _BATCH):
            part = [[str(v) for v in column[start : start + _BATCH]] for column in values]
            copy.write(("\n".join(map("\t".join, zip(*part, strict=True))) + "\n").encode())


def _requests(connection: psycopg.Connection, rows: dict[str, int], chance: np.random.Generator) -> None:
    size = rows["inference_requests"]
    tenant = zipf(chance, TENANTS, size, 0.8) + 1
    model = (tenant * 7 + zipf(chance, 5, size, 1.0)) % MODELS + 1  # a tenant uses few models
    moment = _moments(chance, size)
    duration = np.exp(chance.normal(5.3, 0.6, size)).astype(int) + 5
    status = np.where(
        np.arange(size) >= size - 200, "pending", np.where(chance.random(size) < 0.02, "failed", "completed")
    )
    pending = status == "pending"
    done = np.where(pending, "\\N", duration.astype(str))
    uuids = _hex(chance, size, 32)
    completed = [r"\N" if p else t for p, t in zip(pending, _text_time(moment + duration * 1000), strict=True)]
    rating = np.where(chance.random(size) < 0.9, r"\N", chance.integers(1, 6, size).astype(str))
    tokens = np.exp(chance.normal(5, 1, size)).astype(int) + 1
    values = [
        range(1, size + 1), tenant, zipf(chance, SESSIONS, size, 0.4) + 1, model, uuids,
        np.array(TASKS)[zipf(chance, 4, size, 1.0)], status, _text_time(moment), completed, done, tokens,
        np.where(pending, r"\N", (tokens // 2).astype(str)), chance.random(size) < 0.3, rating,
        np.round(chance.random(size), 3), [f"prompt {h}" for h in _hex(chance, size, 60)],
    ]  # fmt: skip
    _copy(connection, "inference_requests", values)


def _atoms(connection: psycopg.Connection, rows: dict[str, int], chance: np.random.Generator) -> None:
    size = rows["atoms"]
    modality = zipf(chance, len(MODALITIES), size, 0.9)
    created = _text_time(_moments(chance, size))
    values = [
        range(1, size + 1), zipf(chance, TENANTS, size, 0.8) + 1, np.array(MODALITIES)[modality],
        np.array(SUBTYPES)[(modality + chance.integers(0, 2, size)) % len(SUBTYPES)], _hex(chance, size),
        [f"s3://corpus/{s}.parquet" for s in chance.integers(0, max(10, SOURCES * size // 200_000), size)],
        [f"atom text {h}" for h in _hex(chance, size, 40)], chance.integers(0, 50, size), chance.random(size) < 0.97,
        created, created,
    ]  # fmt: skip
    _copy(connection, "atoms", values)


def _cache(connection: psycopg.Connection, rows: dict[str, int], chance: np.random.Generator) -> None:
    size = rows["inference_cache"]
    created = _text_time(_moments(chance, size))
    values = [
        range(1, size + 1), zipf(chance, MODELS, size, 0.7) + 1, np.array(TASKS)[chance.integers(0, 4, size)],
        cache_hashes(size), [f"output {h}" for h in _hex(chance, size, 120)], created, created,
        chance.integers(0, 20, size), chance.integers(100, 9000, size), chance.integers(10, 900, size),
    ]  # fmt: skip
    _copy(connection, "inference_cache", values)


def cache_hashes(size: int) -> list[str]:
    """Hashes that the traffic can ask for."""
    return _hex(np.random.default_rng(77), size)


def _embeddings(connection: psycopg.Connection, rows: dict[str, int], chance: np.random.Generator) -> None:
    size, atoms = rows["atom_embeddings"], rows["atoms"]
    moment = _moments(chance, size)
    x, y = zipf(chance, BUCKETS, size, 0.3), zipf(chance, BUCKETS, size, 0.3)
    vectors = _around_concepts(chance.normal(0, 1, (size, DIMENSIONS)), chance.spawn(1)[0])
    fields = {
        "atom_embedding_id": (np.arange(1, size + 1), ">i8"),
        "atom_id": (chance.integers(1, atoms + 1, size), ">i8"),
        "model_id": (zipf(chance, MODELS, size, 0.7) + 1, ">i4"),
        "embedding_type": (
            np.array(["semantic", "hybrid  "], dtype="S8")[(chance.random(size) < 0.2).astype(int)],
            "S8",
        ),
        "embedding": (_vector_bytes(vectors), f"V{4 + 4 * DIMENSIONS}"),
        "bucket_x": (x, ">i4"),
        "bucket_y": (y, ">i4"),
        "created_at": (moment, ">i8"),
        "last_accessed_at": (moment, ">i8"),
        "access_count": (chance.integers(0, 30, size), ">i4"),
    }
    names = sql.SQL(", ").join(map(sql.Identifier, fields))
    statement = sql.SQL("copy atom_embeddings ({}) from stdin (format binary)").format(names)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in _binary_rows(fields, size):
            copy.write(block)


def _around_concepts(own: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Vectors (n, d) around a few directions, some concepts larger than others, and the rest as they are."""
    centres = 2 * chance.normal(0, 1, (CONCEPTS, own.shape[1]))
    of = zipf(chance, CONCEPTS, len(own), 0.5)
    alone = chance.random(len(own)) < UNRELATED
    return np.where(alone[:, None], own, centres[of] + own).astype(">f4")


def _vector_bytes(vectors: np.ndarray) -> np.ndarray:
    """pgvector's wire format: dimensions and a spare word, 16 bits each, then the numbers."""
    size, dimensions = vectors.shape
    out = np.zeros(size, dtype=[("dimensions", ">i2"), ("unused", ">i2"), ("values", ">f4", (dimensions,))])
    out["dimensions"], out["values"] = dimensions, vectors
    return out.view(f"V{out.dtype.itemsize}")


def _binary_rows(fields: dict[str, tuple[np.ndarray, str]], size: int) -> Iterator[bytes]:
    """Rows of fixed width as COPY BINARY wants them: built by numpy as one record array."""
    layout: list[tuple[str, str]] = [("count", ">i2")]
    for name, (_, kind) in fields.items():
        layout += [(f"{name} length", ">i4"), (name, kind)]
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for start in range(0, size, _BATCH):
        stop = min(start + _BATCH, size)
        records = np.zeros(stop - start, dtype=np.dtype(layout))
        records["count"] = len(fields)
        for name, (values, kind) in fields.items():
            records[f"{name} length"] = np.dtype(kind).itemsize
            records[name] = values[start:stop]
        yield records.tobytes()
    yield b"\xff\xff"
