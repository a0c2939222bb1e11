"""May what showed no gain stay? What is cheap may: nobody pays for it. What costs writes or room goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ooda_dagster.core.settings import Acting


def why_costly(predicted: Mapping[str, Any], used: Mapping[str, Any], acting: Acting) -> str:
    """What an action costs too much of; nothing where it is cheap.

    predicted: as the journal keeps it (`write_ms_per_hour`, `bytes`); used: what the catalogue holds (`bytes`).
    """
    size_mb = float(used.get("bytes") or predicted.get("bytes") or 0) / (1 << 20)
    write_ms = float(predicted.get("write_ms_per_hour") or 0.0)
    costs = []
    if size_mb > acting.cheap_mb:
        costs.append(f"it takes {size_mb:.0f} MB (acting.cheap_mb)")
    if write_ms > acting.cheap_write_ms_per_hour:
        costs.append(f"writes pay {write_ms / 1000:.1f} s an hour for it (acting.cheap_write_ms_per_hour)")
    return "; ".join(costs)


def without_gain(predicted: Mapping[str, Any], used: Mapping[str, Any], acting: Acting) -> tuple[bool, str]:
    """Whether an action that showed no gain goes, and why policy says so."""
    if acting.on_inconclusive != "cost":
        return acting.on_inconclusive == "revert", f"acting.on_inconclusive = {acting.on_inconclusive}"
    costly = why_costly(predicted, used, acting)
    return bool(costly), costly or "it costs next to nothing (acting.on_inconclusive = cost)"
