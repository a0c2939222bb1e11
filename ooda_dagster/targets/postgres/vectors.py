"""Vectors as PostgreSQL sends them in its binary format: pgvector's types, and arrays of real and double precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Decoded = tuple[dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]], dict[str, Sequence[int]]]

#: Type of an expression → a number's type in the message.
KINDS = {"vector": ">f4", "halfvec": ">f2", "_float4": ">f4", "_float8": ">f8"}
#: pgvector: dimensions and a spare word, 16 bits each. Arrays: dimensions, whether there are nulls, the type of the
#: elements, then the size and lower bound of each dimension, 32 bits each; every element has its length before it.
_HEADER = 4
_ARRAY_HEADER = 20


def decode(values: Sequence[bytes | None], kind: str) -> Decoded:
    """Rows by their number of dimensions: positions and numbers; and the positions of those that are no vector."""
    by_length: dict[int, list[int]] = defaultdict(list)
    rejected: dict[str, list[int]] = defaultdict(list)
    for position, value in enumerate(values):
        if value is None:
            rejected["NULL"].append(position)
        else:
            by_length[len(value)].append(position)
    read = _arrays if kind.startswith("_") else _vectors
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
    for length, positions in by_length.items():
        raw = np.frombuffer(b"".join(values[p] for p in positions), dtype=np.uint8)  # type: ignore[misc]
        read(raw.reshape(len(positions), length), np.array(positions), KINDS[kind], found, rejected)
    return found, dict(rejected)


def _vectors(
    raw: NDArray[np.uint8],
    positions: NDArray[np.int64],
    number: str,
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]],
    rejected: dict[str, list[int]],
) -> None:
    numbers = np.ascontiguousarray(raw[:, _HEADER:]).view(number).astype(np.float32)
    found[numbers.shape[1]] = positions, numbers


def _arrays(
    raw: NDArray[np.uint8],
    positions: NDArray[np.int64],
    number: str,
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]],
    rejected: dict[str, list[int]],
) -> None:
    if raw.shape[1] < _ARRAY_HEADER:
        rejected["an empty array"] += positions.tolist()
        return
    header = np.ascontiguousarray(raw[:, :_ARRAY_HEADER]).view(">i4")
    nulls, nested = header[:, 1] != 0, header[:, 0] != 1
    rejected["an array with NULL in it"] += positions[nulls].tolist()
    rejected["a nested array"] += positions[nested & ~nulls].tolist()
    for why in [why for why, rows in rejected.items() if not rows]:
        del rejected[why]
    flat = np.flatnonzero(~nulls & ~nested)
    if not len(flat):
        return
    element = 4 + np.dtype(number).itemsize
    body = np.ascontiguousarray(raw[flat, _ARRAY_HEADER:]).reshape(len(flat), -1, element)
    with np.errstate(over="ignore"):  # a double beyond the range of a real is not finite, and counted as such
        numbers = np.ascontiguousarray(body[:, :, 4:]).view(number)[:, :, 0].astype(np.float32)
    found[numbers.shape[1]] = positions[flat], numbers
