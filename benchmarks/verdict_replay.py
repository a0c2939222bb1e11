"""Real traffic for the error rates of verdicts: recorded by benchmarks/record_traffic.py, replayed around any moment.

A recorded block stands for five minutes. A run takes a moment, the three days before it or what there is of them, the
four hours after it, and some statements at random as those that an action touches.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from verdict_traffic import ACTED_AT, Run, touched

RECORDED = Path(__file__).with_name("recorded_traffic.parquet")
_BEFORE, _LEAST, _AFTER = 864, 288, 48  # blocks of five minutes
_STEPS, _LEAST_SD = 2000, 1e-5  # logs are stored in steps of 1/2000


def store(blocks: pd.DataFrame, path: Path) -> None:
    """Keep what was recorded, small enough to lie beside the code."""
    logs = {
        "mean_ms": np.log(blocks["mean_ms"]),
        "sd_ms": np.log(np.maximum(blocks["sd_ms"], _LEAST_SD)),
        "mean_log": blocks["mean_log"],
        "sd_log": np.log(np.maximum(blocks["sd_log"], _LEAST_SD)),
    }
    small = blocks.assign(
        statement=blocks["statement"].astype("category"),
        block=blocks["block"].astype("int16"),
        n=blocks["n"].astype("int16"),
        **{name: (values * _STEPS).round().astype("int16") for name, values in logs.items()},
    )
    small.sort_values(["statement", "block"]).to_parquet(path, index=False, compression="zstd", compression_level=19)


@cache
def recorded(path: Path = RECORDED) -> pd.DataFrame:
    """As the ledger has it: columns block, fingerprint and the sums of each cell."""
    found = pd.read_parquet(path)
    n, mean_log = found["n"].astype(float), found["mean_log"] / _STEPS
    mean_ms, sd_ms, sd_log = (np.exp(found[name] / _STEPS) for name in ("mean_ms", "sd_ms", "sd_log"))
    sums = {
        "n": n,
        "sum_ms": n * mean_ms,
        "sum_ms_sq": n * (sd_ms**2 + mean_ms**2),
        "sum_log_ms": n * mean_log,
        "sum_log_ms_sq": n * (sd_log**2 + mean_log**2),
    }
    return pd.DataFrame({"block": found["block"].astype(int), "fingerprint": found["statement"].astype(str), **sums})


def replay(share: float, seed: int) -> Run:
    """One action in the recording that changes nothing."""
    chance = np.random.default_rng(seed)
    whole = recorded()
    moment = int(chance.integers(_LEAST, int(whole["block"].max()) + 1 - _AFTER))
    block = whole["block"] - moment
    rollup = whole[(block >= -_BEFORE) & (block < _AFTER)].reset_index(drop=True)
    names, position = np.unique(rollup["fingerprint"], return_inverse=True)
    calls = np.bincount(position, rollup["n"])
    minute = pd.Timestamp(ACTED_AT) + pd.to_timedelta((rollup["block"] - moment) * 5, unit="min")
    rollup = rollup.drop(columns="block").assign(minute=minute, span_s=300.0)
    return Run(rollup, names[touched(calls / calls.sum(), share, chance)].tolist(), moment)
