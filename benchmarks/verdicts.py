"""How often is a verdict wrong, and how soon is it right? Simulated services, one action each, looked at while it goes.

Every run is one service of three days (benchmarks/verdict_traffic.py); all cases are judged on the same calls. `A/A` is
an action without effect: any verdict is false. Bounds are Clopper-Pearson's, one-sided 97.5 %. `naive` is the rule of
the document, the mean of the last 5 minutes against that of 24 hours to 5 minutes ago: it knows no "no difference". On
your own traffic: `ooda audit-verdicts`.

    .venv/bin/python benchmarks/verdicts.py              # about 5 minutes on an idle core
    .venv/bin/python benchmarks/verdicts.py --n 2000 --jobs 2 [--world usual] [--case A/A] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import repeat

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy import stats
from verdict_replay import replay
from verdict_traffic import ACTED_AT, Run, World, changed, counters, simulate

from ooda_dagster.core.placebo import effective_number
from ooda_dagster.core.verdict import Outcome, Verdict, judge

_USUAL = World()
_RECORDED = "recorded"
#: Name → world, and its share of --n (the smaller ones are there for the level, or cost much).
WORLDS: dict[str, tuple[World, float]] = {
    "usual": (_USUAL, 1.0),
    _RECORDED: (_USUAL, 1.0),  # of which only the share of the traffic is taken
    "20 calls/min": (replace(_USUAL, calls_per_minute=20), 1.0),
    "narrow, 5 %": (replace(_USUAL, treated_share=0.05), 1.0),
    "2000 calls/min": (replace(_USUAL, calls_per_minute=2000), 0.05),
    "half the drift": (replace(_USUAL, own_innovation=0.015), 0.2),
    "double drift": (replace(_USUAL, own_innovation=0.06), 0.2),
    "slow drift": (replace(_USUAL, own_innovation=0.01, own_phi=0.99), 0.2),
    "heavy tails": (replace(_USUAL, tail_share=0.03, tail_index=1.1), 0.2),
    "load steps": (replace(_USUAL, steps=True, uneven=0.15), 0.2),
    "gaps": (replace(_USUAL, gaps=True), 0.2),
    "uneven load": (replace(_USUAL, uneven=0.3), 0.2),
    "minutes": (replace(_USUAL, grain_min=1), 0.05),
}
#: Name → effect, share of it that the untouched gain too, minutes of the looks, kinds of rollup.
CASES: dict[str, tuple[float, float, tuple[int, ...], tuple[str, ...]]] = {
    "A/A": (1.0, 0.0, (60, 240), ("requests", "counters")),
    "-10 %": (0.9, 0.0, (15, 30, 60, 120), ("requests",)),
    "-20 %": (0.8, 0.0, (15, 30), ("requests",)),
    "+10 %": (1.1, 0.0, (30, 60), ("requests",)),
    "-10 %, 30 % spills": (0.9, 0.3, (60, 240), ("requests",)),
    "-10 % of counters": (0.9, 0.0, (60,), ("counters",)),
}


def _judged(run: Run, frame: pd.DataFrame, looks: Sequence[int]) -> tuple[Verdict, float]:
    """The first look that decides, or the last; and the CPU seconds of the last."""
    verdict, spent = Verdict(Outcome.INCONCLUSIVE, None, None, ""), 0.0
    for minutes in looks:
        began = time.process_time()
        verdict = judge(frame, acted_at=ACTED_AT, treated=run.treated, now=ACTED_AT + timedelta(minutes=minutes))
        spent = time.process_time() - began
        if verdict.outcome != Outcome.INCONCLUSIVE or verdict.revert:
            break
    return verdict, spent


def naive(rollup: pd.DataFrame, minutes: int) -> str:
    """The document's rule, of all statements."""
    now = ACTED_AT + timedelta(minutes=minutes)
    recent = rollup[(rollup["minute"] >= now - timedelta(minutes=5)) & (rollup["minute"] < now)]
    past = rollup[(rollup["minute"] >= now - timedelta(hours=24)) & (rollup["minute"] < now - timedelta(minutes=5))]
    if recent.empty:
        return "better"
    means = [frame["sum_ms"].sum() / frame["n"].sum() for frame in (recent, past)]
    return "better" if means[0] < means[1] else "worse"


@dataclass
class Found:
    """What looks said: counts of (case, kind, minutes, what); of recorded traffic, moments and log e-values besides."""

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    placebos: defaultdict[tuple[str, ...], list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))

    def update(self, other: Found) -> None:
        self.counts.update(other.counts)
        for key, found in other.placebos.items():
            self.placebos[key] += found

    def worth(self, key: tuple[str, ...]) -> float:
        """How many independent runs there were."""
        if not self.placebos[key]:
            return self.counts[*key, "runs"]
        found = sorted(self.placebos[key])
        moments = [ACTED_AT + timedelta(minutes=5 * block) for block, _ in found]
        log_e = np.array([e for _, e in found])
        return effective_number(moments, log_e, 60.0 * int(key[2]), np.random.default_rng(0))


def one(name: str, seed: int, cases: Sequence[str], each: int) -> Found:
    """What the looks at one service said."""
    world = WORLDS[name][0]
    run = replay(world.treated_share, seed) if name == _RECORDED else simulate(world, seed)
    found = Found()
    for case in cases:
        effect, spill, looks, kinds = CASES[case]
        rollup = changed(run, effect, spill)
        for kind in kinds:
            frame = rollup if kind == "requests" else counters(rollup)
            for minutes in looks:
                verdict, cpu = _judged(run, frame, range(each, minutes + 1, each) if each else (minutes,))
                key = (case, kind, str(minutes))
                found.counts[*key, "runs"] += 1
                found.counts[*key, str(verdict.outcome)] += 1
                found.counts[*key, "revert"] += verdict.revert
                low, high = verdict.interval or (0.0, 1e9)
                found.counts[*key, "missed"] += not low <= (effect ** (1 - spill)) <= high
                found.counts[*key, "cpu_us"] += round(cpu * 1e6)
                found.counts[*key, "naive " + naive(rollup, minutes)] += 1
                if run.moment is not None:
                    found.placebos[key].append((run.moment, verdict.evidence.get("log_e", 0.0)))
    return found


def _chunk(name: str, seeds: range, cases: Sequence[str], each: int) -> Found:
    total = Found()
    for seed in seeds:
        total.update(one(name, seed, cases, each))
    return total


def upper(k: float, n: float) -> float:
    """Upper bound of a share by Clopper and Pearson, one-sided 97.5 %."""
    return float(stats.beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0


def rows(name: str, found: Found, cases: Sequence[str]) -> Iterator[dict[str, object]]:
    for case in cases:
        effect, _, looks, kinds = CASES[case]
        for kind in kinds:
            for minutes in looks:
                key, counts = (case, kind, str(minutes)), found.counts
                n, worth = counts[*key, "runs"], found.worth(key)
                better, worse = counts[*key, Outcome.BETTER.value] / n, counts[*key, Outcome.WORSE.value] / n
                false = worse + better if effect == 1 else worse if effect < 1 else better
                undone = counts[*key, "revert"] / n
                yield {
                    "world": name, "case": case, "rollup": kind, "minutes": minutes, "n": n, "n_effective": worth,
                    "better": better, "worse": worse, "false": false, "false_upper": upper(false * worth, worth),
                    "undone": undone, "undone_upper": upper(undone * worth, worth),
                    "interval_misses": counts[*key, "missed"] / n, "cpu_ms": counts[*key, "cpu_us"] / n / 1000,
                    "naive_better": counts[*key, "naive better"] / n, "naive_worse": counts[*key, "naive worse"] / n,
                }  # fmt: skip


_HEAD = (
    f"{'world':<15}{'case':<20}{'rollup':<10}{'min':>4}{'n':>6}{'worth':>6}{'better':>8}{'worse':>7}{'false ≤':>9}"
    f"{'undone':>8}{'≤':>7}{'missed':>8}{'cpu ms':>8}   naive better/worse"
)


def _line(row: dict[str, object]) -> str:
    return (
        "{world:<15}{case:<20}{rollup:<10}{minutes:>4}{n:>6}{n_effective:>6.0f}{better:>8.3f}{worse:>7.3f}{false_upper:>9.4f}"
        "{undone:>8.3f}{undone_upper:>7.3f}{interval_misses:>8.3f}{cpu_ms:>8.1f}   {naive_better:.2f}/{naive_worse:.2f}"
    ).format(**row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=150, help="runs of the first worlds; the others take a share of it")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--world", action="append", choices=list(WORLDS), help="only these (repeatable)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only these (repeatable)")
    parser.add_argument(
        "--each", type=int, default=0, help="look every so many minutes, and let the first verdict stand"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cases = given.case or list(CASES)
    told: list[dict[str, object]] = []
    if not given.json:
        print(_HEAD)
    with ProcessPoolExecutor(given.jobs) as pool:
        for name in given.world or WORLDS:
            n = max(10, round(given.n * WORLDS[name][1]))
            first, step = given.seed, max(1, min(25, n // given.jobs))
            chunks = [range(s, min(s + step, first + n)) for s in range(first, first + n, step)]
            found = Found()
            for done, part in enumerate(pool.map(_chunk, repeat(name), chunks, repeat(cases), repeat(given.each)), 1):
                found.update(part)
                print(f"\r{name}: {done}/{len(chunks)}   ", end="", file=sys.stderr, flush=True)
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
            for row in rows(name, found, cases):
                told.append(row)
                if not given.json:
                    print(_line(row), flush=True)
    if given.json:
        print(json.dumps({"schema_version": 1, "rows": told}))


if __name__ == "__main__":
    main()
