"""What is read of a table of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EmbeddingPage:
    """Some rows of a table.

    n: how many. last: the id of the last, as text; None where there is none. vectors: by number of dimensions, the
    positions of the rows that have so many, and their numbers (m, d). rejected: positions by why they have none.
    models: of each row. buckets: distinct values of the user's own; None where none is mapped, or none was asked for.
    """

    n: int
    last: str | None
    vectors: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]
    rejected: dict[str, Sequence[int]]
    models: list[str | None]
    buckets: int | None = None


class EmbeddingTable(Protocol):
    """A target's table of embeddings. `numeric`: ids are whole numbers, so that new rows have higher ones."""

    label: str
    numeric: bool

    def rows(self) -> float: ...
    def sample(self, rows: int, *, seed: int) -> EmbeddingPage: ...
    def page(self, after: str | None, *, limit: int) -> EmbeddingPage: ...
