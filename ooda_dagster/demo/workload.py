"""What the service asks its database: statements, how often, and with which parameters."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ooda_dagster.demo.load import BUCKETS, MODALITIES, MODELS, SESSIONS, SOURCES, TENANTS, cache_hashes
from ooda_dagster.demo.planted import Plan
from ooda_dagster.demo.schema import DIMENSIONS, ROWS

_BATCH = 40  # rows of one hot update


@dataclass(frozen=True)
class Statement:
    """A statement of the service; `rate` is calls per second at rate 1."""

    name: str
    sql: str
    rate: float
    parameters: Callable[[random.Random], Mapping[str, Any]]
    writes: bool = False


def statements(plan: Plan, *, scale: float = 1.0) -> list[Statement]:
    """The service's statements for a plan. The report is run only where its index was proposed."""
    rows = {table: max(1000, int(count * scale)) for table, count in ROWS.items()}
    hashes = cache_hashes(rows["inference_cache"])
    sources = max(10, SOURCES * rows["atoms"] // 200_000)
    known: list[str] = []  # correlation ids that were inserted here, so that some look-ups hit

    def tenant(r: random.Random) -> int:
        return min(TENANTS, int(r.paretovariate(plan.skew)))

    def ids(r: random.Random, table: str) -> list[int]:
        return sorted(r.randint(1, rows[table]) for _ in range(_BATCH))

    def correlation(r: random.Random) -> str:
        return r.choice(known) if known and r.random() < 0.5 else f"{r.getrandbits(128):032x}"

    def inserted(r: random.Random) -> dict[str, Any]:
        identifier = f"{r.getrandbits(128):032x}"
        known[:] = [*known[-500:], identifier]
        return {
            "tenant": tenant(r),
            "session": r.randint(1, SESSIONS),
            "model": r.randint(1, MODELS),
            "correlation": identifier,
            "tokens": r.randint(1, 2000),
            "data": f"prompt {r.getrandbits(240):060x}",
        }

    def vector(r: random.Random) -> str:
        return "[" + ",".join(f"{r.gauss(0, 1):.4f}" for _ in range(DIMENSIONS)) + "]"

    def neighbourhood(r: random.Random) -> dict[str, Any]:
        y = r.randint(0, BUCKETS - 12)
        return {"x": r.randint(0, BUCKETS - 1), "low": y, "high": y + 10, "vector": vector(r)}

    reads = [
        Statement(
            "request_by_id",
            "select * from inference_requests where inference_id = %(id)s",
            6,
            lambda r: {"id": r.randint(1, rows["inference_requests"])},
        ),
        Statement(
            "request_by_correlation",
            "select inference_id, status, total_duration_ms from inference_requests where correlation_id = %(id)s",
            3,
            lambda r: {"id": correlation(r)},
        ),
        Statement(
            "tenant_newest",
            "select inference_id, status, model_id, request_timestamp from inference_requests "
            "where tenant_id = %(tenant)s order by request_timestamp desc limit 20",
            3,
            lambda r: {"tenant": tenant(r)},
        ),
        Statement(
            "session_window",
            "select inference_id, task_type, total_duration_ms from inference_requests "
            "where session_id = %(session)s and request_timestamp >= now() - make_interval(days => %(days)s) "
            "order by request_timestamp",
            3,
            lambda r: {"session": r.randint(1, SESSIONS), "days": round(plan.range_days)},
        ),
        Statement(
            "queue_head",
            "select inference_id, tenant_id, model_id from inference_requests where status = 'pending' "
            "order by request_timestamp limit 10",
            4,
            lambda r: {},
        ),
        Statement(
            "atom_by_id",
            "select * from atoms where atom_id = %(id)s",
            6,
            lambda r: {"id": r.randint(1, rows["atoms"])},
        ),
        Statement(
            "atom_by_hash",
            "select atom_id, modality, canonical_text from atoms where content_hash = %(hash)s",
            3,
            lambda r: {"hash": f"{r.getrandbits(160):040x}"},
        ),
        Statement(
            "atoms_of_source",
            "select atom_id, subtype, reference_count from atoms where source_uri = %(uri)s",
            3,
            lambda r: {"uri": f"s3://corpus/{r.randrange(sources)}.parquet"},
        ),
        Statement(
            "tenant_atoms",
            "select atom_id, canonical_text, created_at from atoms where tenant_id = %(tenant)s "
            "and modality = %(modality)s order by created_at desc limit 20",
            3,
            lambda r: {"tenant": tenant(r), "modality": r.choice(MODALITIES)},
        ),
        Statement(
            "embedding_by_id",
            "select atom_id, embedding from atom_embeddings where atom_embedding_id = %(id)s",
            5,
            lambda r: {"id": r.randint(1, rows["atom_embeddings"])},
        ),
        Statement(
            "embeddings_of_atoms",
            "select a.atom_id, a.canonical_text, e.embedding from atoms a join atom_embeddings e using (atom_id) "
            "where a.atom_id between %(id)s and %(id)s + 4",
            3,
            lambda r: {"id": r.randint(1, rows["atoms"])},
        ),
        Statement(
            "bucket_neighbours",
            "select atom_embedding_id, atom_id from atom_embeddings where bucket_x = %(x)s "
            "and bucket_y between %(low)s and %(high)s order by embedding <-> %(vector)s limit 10",
            3,
            neighbourhood,
        ),
        Statement(
            "model_newest",
            "select atom_embedding_id, atom_id, created_at from atom_embeddings where model_id = %(model)s "
            "order by created_at desc limit 20",
            3,
            lambda r: {"model": r.randint(1, MODELS)},
        ),
        Statement(
            "cache_by_id",
            "select output_data from inference_cache where cache_id = %(id)s",
            5,
            lambda r: {"id": r.randint(1, rows["inference_cache"])},
        ),
        Statement(
            "cache_lookup",
            "select cache_id, output_data from inference_cache where input_hash = %(hash)s and model_id = %(model)s",
            5,
            lambda r: {"hash": r.choice(hashes), "model": r.randint(1, MODELS)},
        ),
    ]
    writes = [
        Statement(
            "insert_request",
            "insert into inference_requests (inference_id, tenant_id, session_id, model_id, correlation_id, task_type, "
            "status, request_timestamp, input_tokens, input_data) values (nextval('inference_requests_id'), "
            "%(tenant)s, %(session)s, %(model)s, %(correlation)s, 'completion', 'pending', now(), %(tokens)s, "
            "%(data)s)",
            3,
            inserted,
            writes=True,
        ),
        Statement(
            "complete_request",
            "update inference_requests set status = 'completed', completion_timestamp = now(), total_duration_ms = "
            "%(ms)s, output_tokens = %(tokens)s where inference_id = (select inference_id from inference_requests "
            "where inference_id > (select last_value from inference_requests_id) - 300 and status = 'pending' "
            "order by inference_id limit 1 for update skip locked)",
            3,
            lambda r: {"ms": r.randint(20, 900), "tokens": r.randint(1, 900)},
            writes=True,
        ),
        Statement(
            "bump_atoms",
            "update atoms set reference_count = reference_count + 1, updated_at = now() where atom_id = any(%(ids)s)",
            12,
            lambda r: {"ids": ids(r, "atoms")},
            writes=True,
        ),
        Statement(
            "touch_embeddings",
            "update atom_embeddings set access_count = access_count + 1, last_accessed_at = now() "
            "where atom_embedding_id = any(%(ids)s)",
            12,
            lambda r: {"ids": ids(r, "atom_embeddings")},
            writes=True,
        ),
        Statement(
            "touch_cache",
            "update inference_cache set access_count = access_count + 1, last_accessed_at = now() "
            "where cache_id = any(%(ids)s)",
            12,
            lambda r: {"ids": ids(r, "inference_cache")},
            writes=True,
        ),
        Statement(
            "insert_embedding",
            "insert into atom_embeddings (atom_embedding_id, atom_id, model_id, embedding_type, embedding, bucket_x, "
            "bucket_y, created_at, last_accessed_at) values (nextval('atom_embeddings_id'), %(atom)s, %(model)s, "
            "'semantic', %(vector)s, %(x)s, %(y)s, now(), now())",
            1,
            lambda r: {
                "atom": r.randint(1, rows["atoms"]),
                "model": r.randint(1, MODELS),
                "vector": vector(r),
                "x": r.randrange(BUCKETS),
                "y": r.randrange(BUCKETS),
            },
            writes=True,
        ),
    ]
    return [*reads, *writes, _REPORTS[plan.harmful.report]]


_REPORTS = {
    "atoms_report": Statement(
        "atoms_report",
        "select atom_id, canonical_text, reference_count from atoms order by reference_count desc, updated_at limit 50",
        0.02,
        lambda r: {},
    ),
    "embeddings_report": Statement(
        "embeddings_report",
        "select atom_id, bucket_x, access_count from atom_embeddings order by access_count desc, last_accessed_at "
        "limit 50",
        0.02,
        lambda r: {},
    ),
    "cache_report": Statement(
        "cache_report",
        "select input_hash, access_count from inference_cache order by access_count desc, last_accessed_at limit 50",
        0.02,
        lambda r: {},
    ),
}
