"""What is read of a table of embeddings, and of the table of ours that says which concept each is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ooda_dagster.core.concept_vectors import Floats, Ints, unit

ANOTHER_MODEL, ANOTHER_DIMENSION = "of another model", "of another dimension"
#: Of the numbers of a page, however many dimensions they have.
_PAGE_BYTES = 32 << 20
_FEWEST = 100


@dataclass(frozen=True)
class EmbeddingPage:
    """Some rows of a table.

    n: how many. last: the id of the last, as text; None where there is none. vectors: by number of dimensions, the
    positions of the rows that have so many, and their numbers (m, d). rejected: positions by why they have none.
    models: of each row. buckets: distinct values of the user's own; None where none is mapped, or none was asked for.
    ids: of each row.
    """

    n: int
    last: str | None
    vectors: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]
    rejected: dict[str, Sequence[int]]
    models: list[str | None]
    buckets: int | None = None
    ids: Sequence[Any] = ()


class EmbeddingTable(Protocol):
    """A target's table of embeddings. `numeric`: ids are whole numbers, so that new rows have higher ones.

    id_type: bigint, uuid or text. owner, oid: of the table.
    """

    label: str
    numeric: bool
    id_type: str
    owner: str
    oid: int

    def rows(self) -> float: ...
    def sample(self, rows: int, *, seed: int) -> EmbeddingPage: ...
    def page(self, after: str | None, *, limit: int) -> EmbeddingPage: ...


@dataclass(frozen=True)
class Comparable:
    """Rows of a page whose vectors can be compared: unit vectors (m, d), positions (m,); and why others cannot."""

    vectors: Floats
    positions: Ints
    rejected: Counter[str]


def comparable(page: EmbeddingPage, model: str | None, dimensions: int) -> Comparable:
    """Those of a page that are of one model and have so many dimensions."""
    rejected = Counter({why: len(rows) for why, rows in page.rejected.items()})
    for other, (positions, _) in page.vectors.items():
        if other != dimensions:
            rejected[ANOTHER_DIMENSION] += len(positions)
    if dimensions not in page.vectors:
        return Comparable(np.zeros((0, dimensions), dtype=np.float32), np.zeros(0, dtype=np.int64), rejected)
    positions, matrix = page.vectors[dimensions]
    if any(page.models[p] != model for p in positions):
        ours = np.array([page.models[p] == model for p in positions])
        rejected[ANOTHER_MODEL] += int((~ours).sum())
        positions, matrix = positions[ours], matrix[ours]
    vectors, good, unusable = unit(matrix)
    rejected.update(unusable)
    return Comparable(vectors, positions[good], rejected)


def rows_of_page(wanted: int, dimensions: int) -> int:
    """At most `wanted`, and fewer where so many dimensions would take too much memory."""
    return min(wanted, max(_FEWEST, _PAGE_BYTES // (4 * max(dimensions, 1))))


@dataclass(frozen=True)
class ConceptTable:
    """Our table of which concept rows are of, as a session sees it.

    schema_there, may_create: of the schema that it belongs in, and whether this role may make it there. oid: None where
    there is no such table. columns: name and type, in order; comment: of the table. readable: whether this role sees
    its rows; own: whether it is this role's, and a write runs no code of others; known: whether it has the columns by
    which rows are told. Of one action and concept: bound, whether it has rows, and `last`, the highest id of them;
    empty: it has none of anybody.
    """

    schema_there: bool
    may_create: bool
    oid: int | None = None
    columns: tuple[str, ...] = ()
    comment: str | None = None
    readable: bool = True
    own: bool = True
    known: bool = True
    bound: bool = False
    last: str | None = None
    empty: bool = False
