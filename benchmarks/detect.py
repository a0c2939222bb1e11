"""How much of what is planted is found, and how much that is ordinary is flagged: `fixed` beside `calibrated`.

Simulated services (ooda_dagster_tests/core/request_days.py): a day before as reference, and the day itself, ordinary
or with 0.5 % planted: spikes of 8 to 40 times (40 %), 8 to 40 times the tokens out (20 %), 8 to 40 times too fast (20
%), 3 to 5 times as slow (20 %). Beside it what an oracle reaches that knows the service and what is planted. Then
services drawn at random (request_family.py), those that detection was not tuned on apart. Then whole groups, by sums
per minute. All figures come from one run.

    .venv/bin/python benchmarks/detect.py [--requests 20000] [--seeds 1] [--services steady,few] [--all] [--family 12]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ooda_dagster.core.detect import detect, detect_groups
from ooda_dagster_tests.core.request_days import DAYS, MIX, plant
from ooda_dagster_tests.core.request_family import KINDS, TUNED, case
from ooda_dagster_tests.core.request_minutes import END, minutes
from ooda_dagster_tests.core.request_oracle import ORACLES

_SHARE = 0.005
_FIVE = ("steady", "unequal", "drifting", "queueing", "heavy")


def at_precision(p: np.ndarray, odd: np.ndarray, least: float) -> float:
    """The greatest recall of a threshold for p whose precision is at least so much; equal values go together."""
    _, which = np.unique(p, return_inverse=True)
    found, flagged = np.cumsum(np.bincount(which, odd)), np.cumsum(np.bincount(which))
    good = found / flagged >= least
    return float((found[good] / odd.sum()).max(initial=0.0))


def at_false_flags(scores: pd.DataFrame, odd: np.ndarray, count: int) -> float:
    """Recall where so many ordinary rows are flagged, by p and then by |robust z|."""
    order = np.lexsort((-scores["robust_z"].abs().fillna(0), scores["p_value"].fillna(1)))
    ordinary = np.cumsum(~odd[order])
    return float(odd[order][ordinary <= count].sum() / odd.sum())


def one_service(name: str, n: int, seed: int) -> dict[str, Any]:
    day = DAYS[name]
    before, ordinary = day(n, 0, seed), day(n, 1, seed)
    rows, kinds = plant(ordinary, _SHARE, seed)
    kind, odd = kinds.to_numpy(), kinds.ne("").to_numpy()
    found: dict[str, Any] = {"service": name}
    began = time.process_time()
    scores = detect(rows, reference=before)
    found["cpu_s"] = time.process_time() - began
    runs = {
        "calibrated": (scores, detect(ordinary, reference=before)),
        "planted reference": (detect(rows, reference=plant(before, _SHARE, seed + 1000)[0]), None),
        "no reference": (detect(rows), detect(ordinary)),
        "fixed": (detect(rows, policy="fixed"), detect(ordinary, policy="fixed")),
    }
    for how, (planted, quiet) in runs.items():
        flagged = planted["flagged"].to_numpy()
        found[how] = {
            "recall": float(flagged[odd].mean()),
            "precision": float(odd[flagged].mean()) if flagged.any() else None,
            "by kind": {k: float(flagged[kind == k].mean()) for k in MIX},
            "false": int(flagged[~odd].sum()),
            "quiet": None if quiet is None else int(quiet["flagged"].sum()),
        }
        if how != "fixed":
            p = planted["p_value"].fillna(1).to_numpy()
            found[how]["at .75"], found[how]["at .90"] = (at_precision(p, odd, least) for least in (0.75, 0.9))
    if name in ORACLES:
        found["oracle"] = oracle(ORACLES[name](rows, seed), odd)
    found["at fixed's false flags"] = at_false_flags(scores, odd, found["fixed"]["false"])
    return found


def oracle(likelihood: np.ndarray, odd: np.ndarray) -> tuple[float, float]:
    """Recall at the precisions .75 and .90 of who knows how likely each row is as a planted one (log ratio)."""
    p = np.exp(-np.clip(likelihood, -300, 300))
    return at_precision(p, odd, 0.75), at_precision(p, odd, 0.9)


def one_drawn(kind: str, seed: int) -> dict[str, Any]:
    """A service drawn at random, by its reference, clean and spoilt."""
    drawn = case(kind, seed)
    odd = drawn.kind.ne("").to_numpy()
    by_clean = detect(drawn.planted, reference=drawn.before)
    flagged, p = by_clean["flagged"].to_numpy(), by_clean["p_value"].fillna(1).to_numpy()
    spoilt = detect(drawn.planted, reference=drawn.spoilt)["flagged"].to_numpy()
    quiet = int(detect(drawn.clean, reference=drawn.before)["flagged"].sum())
    return {
        "what": drawn.what,
        "tuned": kind in TUNED and seed % 2 == 0,
        "requests": len(odd),
        "recall": float(flagged[odd].mean()),
        "precision": float(odd[flagged].mean()) if flagged.any() else None,
        "at .75": at_precision(p, odd, 0.75),
        "at .90": at_precision(p, odd, 0.9),
        "oracle": oracle(drawn.likelihood, odd),
        "spoilt": float(spoilt[odd].mean()),
        "quiet": quiet,
    }


def show_family(rows: list[dict[str, Any]]) -> None:
    print(
        "\nServices drawn at random; oracle: recall at .75 and .90; kept: recall by a reference with planted rows, too"
    )
    print(f"{'':<88}{'recall':>7}{'precis.':>8}{'at .75':>8}{'at .90':>8}{'oracle':>12}{'kept':>6}{'clean day':>18}")
    for tuned in (True, False):
        same = [r for r in rows if r["tuned"] == tuned]
        for r in same:
            precision = f"{r['precision']:.2f}" if r["precision"] is not None else "-"
            first = f"{r['what'][:86]:<88}{r['recall']:>7.2f}{precision:>8}{r['at .75']:>8.2f}{r['at .90']:>8.2f}"
            kept = f"{r['spoilt'] / r['recall']:.0%}" if r["recall"] else "-"
            low = _low(r["quiet"], r["requests"])
            day = f"{r['quiet'] / r['requests']:.3%} (>{low:.3%})"
            print(f"{first}{r['oracle'][0]:>7.2f} {r['oracle'][1]:.2f}{kept:>6}{day:>18}")
        if not same:
            continue
        names = ("recall", "at .75", "at .90")
        recall, at75, at90 = (float(np.mean([r[name] for r in same])) for name in names)
        precision = np.mean([r["precision"] for r in same if r["precision"] is not None])
        best = np.mean([r["oracle"] for r in same], axis=0)
        kept = np.mean([r["spoilt"] for r in same]) / max(recall, 1e-9)
        quiet, n = sum(r["quiet"] for r in same), sum(r["requests"] for r in same)
        loud = sum(_low(r["quiet"], r["requests"]) > 0.001 for r in same)
        possible = [r for r in same if r["oracle"][0] >= 0.6]
        good = sum(r["at .75"] >= 0.6 for r in possible)
        print(
            f"{'tuned on' if tuned else 'held out'}: {len(same)} services, recall {recall:.2f} at precision "
            f"{precision:.2f}; {at75:.2f} at .75 and {at90:.2f} at .90, oracle {best[0]:.2f} and {best[1]:.2f}; kept "
            f"{kept:.0%}; clean days {quiet / n:.3%}, {loud} of {len(same)} above 0.1 %; .60 at .75 in {good} of the "
            f"{len(possible)} where the oracle reaches that\n"
        )


def show(results: list[dict[str, Any]], n: int) -> None:
    print(
        f"{n:,} requests a day, {_SHARE:.1%} planted; recall at the default and at two precisions (by p), and per kind"
    )
    kinds = "".join(f"{k:>12}" for k in MIX)
    print(f"{'service':<10}{'policy':<19}{'recall':>7}{'precis.':>8}{'at .75':>8}{'at .90':>8}{kinds}{'clean day':>16}")
    for name in dict.fromkeys(r["service"] for r in results):
        same = [r for r in results if r["service"] == name]
        for how in ("fixed", "calibrated", "planted reference", "no reference"):
            parts = [r[how] for r in same]

            def mean(key: str, parts: list[Any] = parts) -> str:
                values = [part[key] for part in parts if part.get(key) is not None]
                return f"{np.mean(values):.2f}" if values else "-"

            by = "".join(f"{np.mean([part['by kind'][k] for part in parts]):12.2f}" for k in MIX)
            quiet = [part["quiet"] for part in parts if part["quiet"] is not None]
            days = f"{sum(quiet) / len(quiet) / n:.3%} (>{_low(sum(quiet), len(quiet) * n):.3%})" if quiet else ""
            cells = f"{mean('recall'):>7}{mean('precision'):>8}{mean('at .75'):>8}{mean('at .90'):>8}{by}{days:>18}"
            print(f"{name:<10}{how:<19}{cells}")
        if known := [r["oracle"] for r in same if "oracle" in r]:
            print(f"{name:<10}{'an oracle':<34}{np.mean(known, axis=0)[0]:>8.2f}{np.mean(known, axis=0)[1]:>8.2f}")
    print("\nclean day: share flagged and, in brackets, the lower 95 % bound (Clopper, Pearson)\n")
    print(f"{'service':<10}{'clean recall kept':>18}{'no reference':>14}{'recall at the false flags of fixed':>46}")
    for name in dict.fromkeys(r["service"] for r in results):
        same = [r for r in results if r["service"] == name]
        clean = np.mean([r["calibrated"]["recall"] for r in same])
        kept = [
            np.mean([r[how]["recall"] for r in same]) / max(clean, 1e-9)
            for how in ("planted reference", "no reference")
        ]
        ours, theirs = (
            np.mean([r["at fixed's false flags"] for r in same]),
            np.mean([r["fixed"]["recall"] for r in same]),
        )
        false = np.mean([r["fixed"]["false"] for r in same])
        print(f"{name:<10}{kept[0]:>18.0%}{kept[1]:>14.0%}{f'{ours:.2f} against {theirs:.2f}, at {false:,.0f}':>46}")


def _low(count: int, n: int) -> float:
    return float(stats.beta.ppf(0.05, count, n - count + 1)) if count else 0.0


def groups(runs: int) -> list[dict[str, Any]]:
    """Delay and false alarms of whole groups that became slower."""
    found = []
    for many in (2, 12):
        for ratio, lasts_h in ((1.0, None), (1.15, None), (1.3, None), (2.0, None), (1.3, 1.5)):
            hits, false, gone, delays, ratios = 0, 0, 0, [], []
            for seed in range(runs):
                changes = detect_groups(minutes(many, 3, seed, ratio=ratio, lasts_h=lasts_h))
                own = changes[changes["model"] == "m0"] if ratio > 1 else changes.iloc[:0]
                false += len(changes) - len(own)
                hits += bool(len(own))
                if len(own):
                    first = own.iloc[0]
                    gone += first["state"] == "gone"
                    delays.append((first["found_at"] - (END - pd.Timedelta(hours=3))).total_seconds() / 60)
                    ratios.append(first["ratio"])
            found.append(
                {
                    "groups": many,
                    "ratio": ratio,
                    "lasts_h": lasts_h,
                    "found": hits / runs,
                    "delay_min": float(np.median(delays)) if delays else None,
                    "estimate": float(np.mean(ratios)) if ratios else None,
                    "gone": gone,
                    "false": false,
                    "watched_h": runs * 6,
                }
            )
    return found


def show_groups(rows: list[dict[str, Any]]) -> None:
    print("\nA group that became slower 3 h before the end; 6 h watched, after 66 h of past, 20 requests in 5 minutes")
    print(
        f"{'groups':>7}{'times':>7}{'lasts':>8}{'found':>7}{'delay':>9}{'estimate':>10}{'gone':>8}{'false alarms':>22}"
    )
    for r in rows:
        lasts = f"{r['lasts_h']:g} h" if r["lasts_h"] else "on"
        delay = f"{r['delay_min']:.0f} min" if r["delay_min"] is not None else ""
        estimate = f"{r['estimate']:.2f}" if r["estimate"] else ""
        share = "" if r["ratio"] == 1 else f"{r['found']:.0%}"
        false = f"{r['false']} in {r['watched_h']} h"
        print(
            f"{r['groups']:>7}{r['ratio']:>7.2f}{lasts:>8}{share:>7}{delay:>9}{estimate:>10}{r['gone']:>8}{false:>22}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--services", default=",".join(_FIVE))
    parser.add_argument("--all", action="store_true", help="all simulated services")
    parser.add_argument("--family", type=int, default=0, help="seeds of each kind of service drawn at random")
    parser.add_argument("--groups", type=int, default=10, help="runs of each case of whole groups")
    parser.add_argument("--big", type=int, default=300_000, help="requests whose scoring is timed; 0: none")
    parser.add_argument("--json", type=Path, help="write all figures to a file")
    given = parser.parse_args()
    names = list(DAYS) if given.all else [name for name in given.services.split(",") if name]
    results = []
    for name in names:
        for seed in range(given.seeds):
            results.append(one_service(name, given.requests, seed))
            print(f"  {name}, seed {seed}: {results[-1]['cpu_s']:.1f} s of CPU to score once", flush=True)
    if results:
        show(results, given.requests)
    drawn = []
    for kind in KINDS:
        for seed in range(given.family):
            drawn.append(one_drawn(kind, seed))
            print(f"  {drawn[-1]['what']}", flush=True)
    if drawn:
        show_family(drawn)
    changes = groups(given.groups) if given.groups else []
    if changes:
        show_groups(changes)
    if given.big:
        rows, before = DAYS["steady"](given.big, 1, 0), DAYS["steady"](100_000, 0, 0)
        began, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        detect(rows, reference=before)
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) / 1024
        print(
            f"\n{given.big:,} requests against 100,000: {time.process_time() - began:.1f} s of CPU, {more:.0f} MB more"
        )
    if given.json:
        given.json.write_text(json.dumps({"services": results, "family": drawn, "groups": changes}, indent=1))


if __name__ == "__main__":
    main()
