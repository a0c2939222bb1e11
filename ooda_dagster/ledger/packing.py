"""Cells of rollups - a statement's work in a bucket - as few bytes, and back.

A chunk holds many statements over some buckets, by statement and then by time, each column apart. Calls are whole and
exact, and so may other counters be. What may have an error is kept per call, as a logarithm in steps: its relative
error is bounded, and so is that of any sum. Neighbours of one statement differ little from its usual value: that is
kept once, and with each cell the difference, byte by byte, under zlib, whose Huffman codes come near the entropy of
such numbers.

A whole number is rounded to one again, so that those below 1 / 2ε come back exactly. Packing what was unpacked gives
the same bytes: chunks may be joined and split as often as one likes.

Layout, little-endian: version (1 byte), statements, buckets, cells (4 bytes each), then the sections ids, presence,
calls and one for each of SCALED, each with its length (4 bytes). A section of SCALED begins with its step (8 bytes),
where 0 stands for whole numbers as they are, and ends there where all are zero.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

#: Counters of a cell, as frames name them.
COUNTERS = ("n", "sum_ms", "sum_ms_sq", "rows", "blocks_hit", "blocks_read", "temp_blocks", "wal_bytes")
#: In the order of their sections.
SCALED = COUNTERS[1:]
WHOLE = frozenset(COUNTERS) - {"sum_ms", "sum_ms_sq"}
VERSION = 1
_HEAD = struct.Struct("<BIII")
_LENGTH = struct.Struct("<I")
_STEP = struct.Struct("<d")


@dataclass(frozen=True)
class Cells:
    """Who did what in which bucket; of a statement that was not called in a bucket there is no cell.

    ids: ascending statement ids; row: each cell's place in them; bucket: number of its bucket; values: counter → one
    number a cell. As unpacked, cells are in the order of statement and bucket.
    """

    ids: np.ndarray
    row: np.ndarray
    bucket: np.ndarray
    values: Mapping[str, np.ndarray]


def pack(cells: Cells, buckets: int, errors: Mapping[str, float]) -> bytes:
    """Cells as bytes. errors: counter → relative error that it may have, of all but the calls; 0: whole, and exact.

    Raises ValueError where a counter is negative or not a number: no work is.
    """
    for name in COUNTERS:
        if not (np.isfinite(cells.values[name]) & (cells.values[name] >= 0)).all():
            raise ValueError(f"{name} of a bucket holds what is no sum of work: a negative number, or none at all")
    order = np.lexsort((cells.bucket, cells.row))
    row, bucket = cells.row[order], cells.bucket[order]
    present = np.zeros((len(cells.ids), buckets), bool)
    present[row, bucket] = True
    n = np.rint(cells.values["n"][order]).astype("int64")
    sections = [
        _squeezed(np.diff(cells.ids.astype("int64"), prepend=0)),
        _deflated(np.packbits(present)),
        _near_usual(n, row),
    ]
    total = np.zeros(len(row))
    for name in SCALED:
        values = cells.values[name][order].astype(float)
        step = 2 * np.log1p(errors[name])
        some = values > 0
        per = _unit(name, n, total)
        ratio = values[some] / per[some]
        steps = np.rint(np.log(ratio) / step if step else values[some]).astype("int64")
        if name == "sum_ms_sq":  # a variance is not negative, whatever is rounded
            steps = np.where(ratio >= 1, np.maximum(steps, 0), steps)
        section = b""
        if some.any():
            section = _joined([_deflated(np.packbits(some)), _near_usual(steps, row[some])])
        sections.append(_STEP.pack(step) + section)
        if name == "sum_ms":
            total[some] = per[some] * np.exp(steps * step)
    return _HEAD.pack(VERSION, len(cells.ids), buckets, len(row)) + _joined(sections)


def unpack(data: bytes, columns: Collection[str] = COUNTERS, only: np.ndarray | None = None) -> Cells:
    """The cells of a chunk. columns: the counters that are wanted; only: ascending ids, where not all statements are.

    Raises ValueError where a newer version wrote the chunk.
    """
    version, count, buckets, cells = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"a chunk of rollups has version {version}; this ooda-dagster reads {VERSION}: upgrade it")
    ids_in, presence, calls, *scaled = _parted(data, _HEAD.size)
    ids = np.cumsum(_loose(ids_in, count))
    present = np.unpackbits(_inflated(presence), count=count * buckets).view(bool)
    where = np.flatnonzero(present)
    if len(where) != cells:
        raise ValueError(f"a chunk of rollups is damaged: it should have {cells} cells and has {len(where)}")
    row, bucket = np.divmod(where, buckets) if buckets else (where, where)
    keep = None if only is None else np.isin(ids, only)[row]
    n = _from_usual(calls, row)
    values: dict[str, np.ndarray] = {"n": n if keep is None else n[keep]}
    total = np.zeros(0)
    for name, section in zip(SCALED, scaled, strict=True):
        if name not in columns and not (name == "sum_ms" and "sum_ms_sq" in columns):
            continue
        found = _scaled(name, section, row, values["n"], total, keep)
        if name == "sum_ms":
            total = found
        values[name] = np.rint(found).astype("int64") if name in WHOLE else found
    if keep is not None:
        row, bucket = row[keep], bucket[keep]
    return Cells(ids, row, bucket, {name: values[name] for name in COUNTERS if name in columns})


def _unit(name: str, n: np.ndarray, total: np.ndarray) -> np.ndarray:
    """What a counter is kept by: a call; squares by those of calls that all take the mean."""
    calls = np.maximum(n, 1).astype(float)
    return np.where(total > 0, total**2 / calls, calls) if name == "sum_ms_sq" else calls


def _scaled(
    name: str, section: bytes, row: np.ndarray, n: np.ndarray, total: np.ndarray, keep: np.ndarray | None
) -> np.ndarray:
    (step,) = _STEP.unpack_from(section)
    if len(section) == _STEP.size:
        return np.zeros(len(n))
    zeros, rest = _parted(section, _STEP.size)
    some = np.unpackbits(_inflated(zeros), count=len(row)).view(bool)
    steps = _from_usual(rest, row[some])
    if keep is not None:
        steps, some = steps[keep[some]], some[keep]
    found = np.exp(steps * step) if step else steps.astype(float)
    if not some.all():
        spread = np.zeros(len(n))
        spread[some] = found
        found = spread
    return found * _unit(name, n, total) if step else found


def _near_usual(values: np.ndarray, row: np.ndarray) -> bytes:
    """Numbers of statements as each one's median and the differences to it, or as they are where that is shorter."""
    if not len(values):
        return b""
    first, count = _runs(row)
    usual = values[np.lexsort((values, row))][first + count // 2]
    plain = _joined([b"", _squeezed(values)])
    near = _joined([_squeezed(usual), _squeezed(values - np.repeat(usual, count))])
    return min(plain, near, key=len)


def _from_usual(section: bytes, row: np.ndarray) -> np.ndarray:
    if not len(row):
        return np.zeros(0, "int64")
    usual, rest = _parted(section, 0)
    found = _loose(rest, len(row))
    if not usual:
        return found
    first, count = _runs(row)
    return found + np.repeat(_loose(usual, len(first)), count)


def _runs(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each statement's cells begin, and how many there are."""
    first = np.flatnonzero(np.diff(row, prepend=-1))
    return first, np.diff(np.append(first, len(row)))


def _squeezed(values: np.ndarray) -> bytes:
    """Signed integers: the sign in the lowest bit, then the bytes of each place together."""
    bits = ((values << 1) ^ (values >> 63)).view("uint64")
    places = (int(bits.max()).bit_length() + 7) // 8 if len(bits) else 0
    by_place = bits.astype("<u8").view("uint8").reshape(-1, 8).T
    return _joined([_deflated(np.ascontiguousarray(by_place[place])) for place in range(places)])


def _loose(data: bytes, count: int) -> np.ndarray:
    bits = np.zeros(count, "uint64")
    for place, section in enumerate(_parted(data, 0)):
        bits |= _inflated(section).astype("uint64") << np.uint64(8 * place)
    return (bits >> np.uint64(1)).view("int64") ^ -(bits & np.uint64(1)).view("int64")


def _deflated(values: np.ndarray) -> bytes:
    """The shorter of zlib with matches and without: in noise, matches cost more than they save."""
    found = []
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
        packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy)
        found.append(packer.compress(values.tobytes()) + packer.flush())
    return min(found, key=len)


def _inflated(data: bytes) -> np.ndarray:
    return np.frombuffer(zlib.decompress(data, -15), "uint8")


def _joined(sections: list[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(section)) + section for section in sections)


def _parted(data: bytes, at: int) -> list[bytes]:
    found = []
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        found.append(data[at + _LENGTH.size : at + _LENGTH.size + length])
        at += _LENGTH.size + length
    return found
