"""The inference service's tables: the document's, in snake_case, with the indexes that such a service has."""

from __future__ import annotations

#: Part of the template database's name: data of an older schema is not used again.
SCHEMA_VERSION = 6

#: Rows at scale 1.
ROWS = {"inference_requests": 300_000, "atoms": 200_000, "atom_embeddings": 200_000, "inference_cache": 100_000}
DIMENSIONS = 64
#: Directions that most embeddings lie around, and the share that lies anywhere.
CONCEPTS, UNRELATED = 12, 0.15

EXTENSIONS = "create extension vector; create extension pg_stat_statements; create extension pg_prewarm"

DDL = f"""
create table inference_requests (
    inference_id bigint primary key,
    tenant_id int not null,
    session_id int not null,
    model_id int not null,
    correlation_id uuid not null,
    task_type text not null,
    status text not null,
    request_timestamp timestamptz not null,
    completion_timestamp timestamptz,
    total_duration_ms int,
    input_tokens int not null,
    output_tokens int,
    cache_hit boolean not null default false,
    user_rating smallint,
    confidence real,
    input_data text not null
) with (fillfactor = 90);

create table atoms (
    atom_id bigint primary key,
    tenant_id int not null,
    modality text not null,
    subtype text not null,
    content_hash text not null,
    source_uri text not null,
    canonical_text text,
    reference_count int not null default 0,
    is_active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null
) with (fillfactor = 75);

create table atom_embeddings (
    atom_embedding_id bigint primary key,
    atom_id bigint not null,
    model_id int not null,
    embedding_type text not null,
    embedding vector({DIMENSIONS}) not null,
    bucket_x int not null,
    bucket_y int not null,
    created_at timestamptz not null,
    last_accessed_at timestamptz not null,
    access_count int not null default 0
) with (fillfactor = 75);

create table inference_cache (
    cache_id bigint primary key,
    model_id int not null,
    inference_type text not null,
    input_hash text not null,
    output_data text not null,
    created_at timestamptz not null,
    last_accessed_at timestamptz not null,
    access_count int not null default 0,
    size_bytes int not null,
    compute_time_ms int not null
) with (fillfactor = 75);

create sequence inference_requests_id;
create sequence atom_embeddings_id;
"""
