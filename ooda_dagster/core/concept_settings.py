"""Settings of embeddings: where they are read, and what of them is a concept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ooda_dagster.core.setting_types import Expression, Group, Positive, PositiveInt, Share


class Concepts(Group):
    """The target's table of embeddings, how much of it is read, and what is a concept in it.

    `id` to `bucket` are SQL expressions over the columns of `table`; they run in the read-only session. `embedding` is
    a pgvector `vector` or `halfvec`, or an array of `real` or `double precision`.
    """

    enabled: bool = True
    table: str = "atom_embeddings"  # or schema.table; without a schema, the first that we may read
    id: Expression = "atom_embedding_id"
    embedding: Expression = "embedding"
    model: Expression = "null"  # whose space an embedding lies in; null: all are of one
    bucket: Expression = "null"  # the user's own spatial bucket; null: there is none
    sample_rows: Annotated[int, Field(ge=100, le=100_000)] = 5_000  # that are clustered
    chunk_rows: Annotated[int, Field(ge=100, le=100_000)] = 5_000  # that are in memory at once, beside the sample
    max_rows: PositiveInt = 200_000  # counted in one cycle, the rest in the next; by hand, all
    rediscover_h: Positive = 24  # so old a clustering is made anew
    rediscover_share: Annotated[float, Field(gt=0)] = 0.2  # or after so many new rows
    min_members: Annotated[int, Field(ge=5)] = 10  # of the sample
    min_share: Share = 0.005  # of the sample, where that is more
    max_concepts: Annotated[int, Field(ge=1, le=1000)] = 100
    dimensions: Annotated[int, Field(ge=2, le=100)] = 24  # that the sample is projected on
    coherence_threshold: Share = 0.7  # mean cosine of the members to their centroid; less is no concept
    same_share: Annotated[float, Field(gt=0, le=1)] = 0.3  # members in common, of all: less is another concept
    absences: PositiveInt = 2  # in so many discoveries in a row, until a concept is gone
    keep_d: Positive = 400
    bind: bool = True  # whether it is proposed to write the members of good concepts into the target
    bind_coherence: Share = 0.8
    bind_rows: PositiveInt = 50  # fewest counted members
    bind_max_rows: PositiveInt = 1_000_000  # most: a concept of more is not proposed
    bind_discoveries: PositiveInt = 2  # in which it was found
    bind_same_share: Annotated[float, Field(gt=0, le=1)] = 0.7  # members in common with before: else it changed
    bind_at_once: PositiveInt = 10  # proposals that wait
