"""What does scoring requests cost, how many ordinary ones pass the fixed thresholds, and how many planted ones?

Requests of six groups with a log-normal duration that grows with the tokens, 1 % of them with a heavy tail, 1 % failed;
six slow ones are planted, one a group. All figures come from one run; the cost is a ratio.

    .venv/bin/python benchmarks/detect.py [--seeds 3] [--neighbours 20]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from ooda_dagster.core.detect import detect, isolation_scores, local_outlier_factors
from ooda_dagster.core.request_settings import Detect

_SIZES = (300, 1_000, 5_000, 10_000, 100_000)
_TIMES = (5, 20, 100)


def ordinary(n: int, seed: int) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    group = chance.integers(0, 6, n)
    out = np.exp(chance.normal(4, 0.7, n)).round()
    ms = np.exp(np.linspace(3, 7, 6))[group] * (out / 55) ** 0.7
    ms = ms * np.exp(chance.normal(0, np.linspace(0.3, 0.7, 6)[group]))
    ms = np.where(chance.random(n) < 0.01, ms * (1 + chance.pareto(1.5, n)), ms)
    return pd.DataFrame(
        {
            "model": [f"m{g % 3}" for g in group],
            "operation": [f"o{g // 3}" for g in group],
            "duration_ms": ms.round(),
            "tokens_in": np.exp(chance.normal(5, 0.8, n)).round(),
            "tokens_out": out,
            "failed": chance.random(n) < 0.01,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--neighbours", type=int, default=20)
    given = parser.parse_args()
    settings = Detect(neighbours=given.neighbours)
    warm = np.random.default_rng(0).normal(size=(100, 5))
    isolation_scores(warm, settings, 0)
    local_outlier_factors(warm, settings.neighbours)
    times = "".join(f"  found x{t}".rjust(13) for t in _TIMES)
    print(f"{'requests':>9}  cost  {'forest > 0.7':>13}{'LOF > 1.5':>13}{'either':>13}{times}   (forest/LOF)")
    first = None
    for n in _SIZES:
        used, rates, found = 0.0, [], {t: [] for t in _TIMES}
        for seed in range(given.seeds):
            rows = ordinary(n, seed)
            began = time.process_time()
            scores = detect(rows, settings=settings, seed=seed)
            used += time.process_time() - began
            odd = scores["isolation_score"] > 0.7, scores["lof"] > 1.5
            rates.append([odd[0].mean(), odd[1].mean(), scores["flagged"].mean()])
            for t in _TIMES:
                slow = [part.index[0] for _, part in rows.groupby(["model", "operation"])]
                planted = rows.copy()
                planted.loc[slow, "duration_ms"] *= t
                scores = detect(planted, settings=settings, seed=seed).loc[slow]
                found[t].append([(scores["isolation_score"] > 0.7).mean(), (scores["lof"] > 1.5).mean()])
        first = first or used
        shares = "".join(f"{share:13.2%}" for share in np.mean(rates, axis=0))
        recall = "".join(f"{'{:.0%}/{:.0%}'.format(*np.mean(found[t], axis=0)):>13}" for t in _TIMES)
        print(f"{n:>9,}  {used / first:4.1f}  {shares}{recall}", flush=True)
    print(f"\n1 is {_SIZES[0]:,} requests: {first / given.seeds if first else 0:.2f} s of CPU")


if __name__ == "__main__":
    main()
