"""What happened between two readings of cumulative counters? Resets and evictions are gaps, never negative work."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pandas as pd

KEY = ["query_id", "user_id", "toplevel"]
COUNTED = ["calls", "total_ms", "total_ms_sq", "rows", "blocks_hit", "blocks_read", "temp_blocks", "wal_bytes"]
#: Names that rollups give to some of them.
TO_FRAME = {"calls": "n", "total_ms": "sum_ms", "total_ms_sq": "sum_ms_sq"}
_TYPES = {
    "query_id": "i8",
    "user_id": "i8",
    "toplevel": "?",
    "since": "f8",
    "calls": "i8",
    "total_ms": "f8",
    "total_ms_sq": "f8",
    "rows": "i8",
    "blocks_hit": "i8",
    "blocks_read": "i8",
    "temp_blocks": "i8",
    "wal_bytes": "f8",
}

_SAME_S = 0.001  # the time when an entry was made is told in microseconds, and as a float

Gaps = list[tuple[str, str]]


def difference(
    before: pd.DataFrame, after: pd.DataFrame, epoch_before: dict[str, Any], epoch_after: dict[str, Any]
) -> tuple[pd.DataFrame, Gaps]:
    """Work between two readings, per query_id: the columns of COUNTED; and the gaps (kind, detail).

    An entry that is new, or that counts less than before, was made since the last reading (it was evicted in between
    where it existed): what it counts now is work of this interval, a lower bound. After a reset, or on another server,
    the two readings have nothing to do with each other: no work is told.
    """
    nothing = pd.DataFrame(columns=pd.Index(["query_id", *COUNTED]))
    gaps: Gaps = []
    for key, kind in (
        ("system_identifier", "other server"),
        ("database_oid", "other database"),
        ("stats_reset", "reset"),
    ):
        if epoch_before.get(key) != epoch_after.get(key):
            gaps.append((kind, f"{key} was {epoch_before.get(key)}, is {epoch_after.get(key)}"))
    if gaps:
        return nothing, gaps
    if epoch_before.get("started_at") != epoch_after.get("started_at"):
        gaps.append(("restart", f"server started at {epoch_after.get('started_at')}"))
    evicted = int(epoch_after.get("evictions") or 0) - int(epoch_before.get("evictions") or 0)
    if evicted > 0:
        gaps.append(("eviction", f"pg_stat_statements made room {evicted} times; raise pg_stat_statements.max"))

    merged = after.merge(before, on=KEY, how="left", suffixes=("", "_before"))
    fresh = merged["calls_before"].isna() | (merged["calls"] < merged["calls_before"].fillna(0))
    fresh |= (merged["since"] - merged["since_before"]).fillna(0) > _SAME_S
    fresh = fresh.to_numpy(dtype=bool)
    delta = merged[["query_id"]].copy()
    for column in COUNTED:
        earlier = np.where(fresh, 0, merged[f"{column}_before"].fillna(0).to_numpy(dtype=float))
        delta[column] = np.maximum(merged[column].to_numpy(dtype=float) - earlier, 0)
    remade = int((fresh & merged["calls_before"].notna().to_numpy(dtype=bool)).sum())
    if remade and evicted <= 0:
        gaps.append(("entry reset", f"{remade} entries started anew"))
    delta = delta.groupby("query_id", as_index=False)[COUNTED].sum()
    delta = delta[delta["calls"] > 0]
    # Rounding of the server's running mean and deviation must not make a variance negative (Cauchy-Schwarz).
    delta["total_ms_sq"] = np.maximum(delta["total_ms_sq"], delta["total_ms"] ** 2 / delta["calls"])
    return delta, gaps


def pack(frame: pd.DataFrame) -> bytes:
    """Counters as compressed bytes."""
    buffer = io.BytesIO()
    records = frame[list(_TYPES)].astype(_TYPES).to_records(index=False)
    np.save(buffer, np.asarray(records), allow_pickle=False)
    return zlib.compress(buffer.getvalue(), 1)


def unpack(data: bytes) -> pd.DataFrame:
    """The inverse of `pack`."""
    return pd.DataFrame(np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False))
