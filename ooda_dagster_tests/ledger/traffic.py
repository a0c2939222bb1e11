"""Days of a busy server, minute by minute: for the tests of the ledger's size and benchmarks/rollups.py.

`share` of the statements run in any minute. Which ones, a world says:

- zipf: statement k is called at random, at a rate of about k^-1.2; the busy run in every minute, most in some hours;
- random: each minute another random share; every statement runs in nearly every hour;
- noise: as random, and each cell is drawn anew, as if a statement had nothing to do with itself a minute before. No
  server is like that; nothing can be packed less.

In the first two a statement has a usual time, spread, rows, blocks and WAL per call, calls vary about them by their
count, and all of them share a load that drifts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ooda_dagster.ledger.packing import COUNTERS

WORLDS = ("zipf", "random", "noise")


def minutes(world: str, ids: np.ndarray, count: int, *, share: float = 0.2, seed: int = 1) -> Iterator[pd.DataFrame]:
    """Frames of `count` minutes as the sampler would store them: statement_id and the counters."""
    chance = np.random.default_rng(seed)
    size = len(ids)
    rate = chance.permutation(_rates(size, share))
    usual = {
        "ms": chance.lognormal(0, 1.5, size),
        "spread": chance.uniform(0.4, 0.9, size),
        "calls": np.minimum(chance.zipf(1.7, size), 100_000),
        "rows": chance.integers(0, 20, size).astype(float),
        "blocks": chance.integers(1, 200, size).astype(float),
        "reads": np.where(chance.random(size) < 0.1, 2.0, 0.0),
        "wal": np.where(chance.random(size) < 0.2, 180.0, 0.0),
    }
    load = 0.0
    for minute in range(count):
        load = 0.95 * load + chance.normal(0, 0.03)
        if world == "zipf":
            calls = chance.poisson(rate * np.exp(0.4 * np.sin(2 * np.pi * minute / 1440)))
            chosen = np.flatnonzero(calls)
            n = calls[chosen]
        else:
            chosen = np.sort(chance.choice(size, round(share * size), replace=False))
            n = 1 + chance.poisson(usual["calls"][chosen] - 1)
        if world == "noise":
            yield _noise(ids[chosen], chance)
        else:
            yield _like_itself(ids[chosen], n, {k: v[chosen] for k, v in usual.items()}, load, chance)


def _rates(size: int, share: float) -> np.ndarray:
    """Calls a minute by rank, such that the share of the statements is called in one."""
    rank = np.arange(1, size + 1) ** 1.2
    low, high = 1e-6, 1e12
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if -np.expm1(-middle / rank).sum() < share * size else (low, middle)
    return low / rank


def _like_itself(
    ids: np.ndarray, n: np.ndarray, usual: dict[str, np.ndarray], load: float, chance: np.random.Generator
) -> pd.DataFrame:
    cv2 = np.expm1(usual["spread"] ** 2)
    mean = usual["ms"] * np.exp(load + chance.standard_normal(len(n)) * np.sqrt(np.log1p(cv2 / n)))
    inner = np.where(n > 1, cv2 * np.exp(chance.normal(0, 0.5, len(n))), 0.0)
    found = pd.DataFrame({"statement_id": ids, "n": n, "sum_ms": n * mean, "sum_ms_sq": n * mean**2 * (1 + inner)})
    found["rows"] = chance.poisson(n * usual["rows"])
    found["blocks_hit"] = chance.poisson(n * usual["blocks"])
    found["blocks_read"] = chance.poisson(n * usual["reads"])
    found["temp_blocks"] = 0
    found["wal_bytes"] = n * usual["wal"] + 8 * chance.poisson(n * usual["wal"] / 20)
    return found[["statement_id", *COUNTERS]]


def _noise(ids: np.ndarray, chance: np.random.Generator) -> pd.DataFrame:
    n = np.minimum(chance.zipf(1.7, len(ids)), 100_000)
    mean = chance.lognormal(0, 1.5, len(ids))
    found = pd.DataFrame({"statement_id": ids, "n": n, "sum_ms": n * mean, "sum_ms_sq": n * mean**2 * 1.3})
    found["rows"] = n * chance.integers(0, 20, len(ids))
    found["blocks_hit"] = n * chance.integers(1, 200, len(ids))
    found["blocks_read"] = (chance.random(len(ids)) < 0.1) * n
    found["temp_blocks"] = 0
    found["wal_bytes"] = (chance.random(len(ids)) < 0.2) * n * 180.0
    return found[["statement_id", *COUNTERS]]
