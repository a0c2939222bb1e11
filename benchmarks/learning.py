"""How far off is the next prediction: as priced, or corrected by its group's mean, its type's, or the shrunk one?

Simulated histories (ooda_dagster_tests/core/simulated_outcomes.py): groups of types, rungs and targets, each with a
truth of its own, of which a few verdicts tell with their errors. Root mean squared error in points of a prediction of
50 % less work. `shrunk` is what the loop uses (core/calibration.py).

    PYTHONPATH=. .venv/bin/python benchmarks/learning.py [--n 1000] [--json]      # half a minute
"""

from __future__ import annotations

import argparse
import json

from ooda_dagster_tests.core.simulated_outcomes import World, errors

WORLDS = {
    "usual: realised 0.7x, 1-15 verdicts": World(),
    "1-3 verdicts": World(outcomes=(1, 3)),
    "30-50 verdicts": World(outcomes=(30, 50)),
    "groups alike": World(group_sd=0.02),
    "groups unlike": World(group_sd=0.4),
    "exact verdicts": World(error=(0.005, 0.01)),
    "vague verdicts": World(error=(0.1, 0.4)),
    "1 in 10 is a disaster": World(disasters=0.1),
    "one group": World(types=1, groups=1),
    "realised 1.2x": World(mean=1.2),
    "realised 0.1x (the floor is 0.25x)": World(mean=0.1),
    "predictions right": World(mean=1.0, type_sd=0.0, group_sd=0.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors of corrected predictions on simulated histories.")
    parser.add_argument("--n", type=int, default=1000, help="histories of each world")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = {name: errors(world, range(chosen.n)) for name, world in WORLDS.items()}
    if chosen.json:
        print(json.dumps({"schema_version": 1, "histories": chosen.n, "rmse_share": found}, indent=2))
        return
    names = list(next(iter(found.values())))
    print(f"{'':36}" + "".join(f"{name:>17}" for name in names))
    for world, values in found.items():
        print(f"{world:36}" + "".join(f"{100 * values[name]:17.1f}" for name in names))


if __name__ == "__main__":
    main()
