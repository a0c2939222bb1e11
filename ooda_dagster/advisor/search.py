"""Which of the candidates together? Greedy growth under a budget, from both ends of the trade, then local mending.

What is sought is the value of a set: time saved, less what its indexes cost those who write, less a price for every
index (the floor below which none is worth its upkeep) and for its bytes (the whole budget costs as much as one index).
Two greedy runs (by value, by value per byte) start the search; each step may add one index or the whole set that a
statement's best plan uses. Then indexes that do not pay any more are dropped, and exchanges tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ooda_dagster.advisor.costs import Configuration, Costs, Judged
from ooda_dagster.core.btree_size import PAGE_BYTES
from ooda_dagster.core.indexes import IndexSpec

_PEELS = 5  # plans looked at for each statement, each without the index that the one before leant on
_TELLS = 1e-3  # of the floor: differences below it are the planner's rounding


@dataclass(frozen=True)
class Found:
    """The answer: indexes, and what they net in ms per hour."""

    indexes: Configuration
    net_ms_per_hour: float


class Search:
    """One search over a workload."""

    def __init__(
        self,
        costs: Costs,
        judged: Sequence[Judged],
        *,
        bytes_of: Callable[[IndexSpec], int],
        write_ms_per_hour: Callable[[IndexSpec], float],
        budget_bytes: int,
        floor_ms_per_hour: float,
        deadline: float,
    ) -> None:
        self._costs = costs
        self._judged = judged
        self._bytes = bytes_of
        self.writes = write_ms_per_hour
        self._budget = budget_bytes
        self._floor = floor_ms_per_hour
        self._deadline = deadline
        self.timed_out = False

    def run(self) -> Found:
        """The best configuration found before the deadline."""
        moves = self._moves()
        starts = [self._grow(moves, per_byte) for per_byte in (False, True)]
        mended = [self._mend(start, moves) for start in starts]
        best = max(mended, key=self.value)
        return Found(best, self.net(best))

    def value(self, configuration: Configuration) -> float:
        """ms per hour netted, less the price of every index and of the bytes."""
        size = sum(map(self._bytes, configuration))
        return self.net(configuration) - self._floor * (len(configuration) + size / max(self._budget, 1))

    def net(self, configuration: Configuration) -> float:
        """ms per hour saved by a configuration, less what it costs writers."""
        saved = sum(self.saved(j, configuration) for j in self._judged)
        return saved - sum(self.writes(i) for i in configuration)

    def saved(self, judged: Judged, configuration: Configuration) -> float:
        """ms per hour that a statement saves: its time today × the share of cost that goes away."""
        cost = self._costs.cost(judged, configuration)
        return judged.weight * max(0.0, 1 - cost / judged.base)

    def _late(self) -> bool:
        if time.monotonic() > self._deadline:
            self.timed_out = True
        return self.timed_out

    def _moves(self) -> list[Configuration]:
        """Sets of indexes that some plan of some statement wants together, and each of them alone."""
        found: dict[Configuration, None] = {}
        for judged in self._judged:
            offered = judged.candidates
            for _ in range(_PEELS):
                if self._late():
                    break
                used, cost = self._costs.plan(judged, offered)
                if not used or cost >= judged.base:
                    break
                found.setdefault(used)
                for index in sorted(used, key=lambda i: i.definition):
                    found.setdefault(frozenset({index}))
                # Without the widest of them, so that the next plan shows what a narrower index would do.
                offered = offered - {max(used, key=lambda i: (len(i.columns), self._bytes(i), i.definition))}
            if not self._late():  # what one column alone would do, which many wide ones may hide
                used, _ = self._costs.plan(judged, frozenset(i for i in judged.candidates if len(i.columns) == 1))
                for index in sorted(used, key=lambda i: i.definition):
                    found.setdefault(frozenset({index}))
        return list(found)

    def _grow(self, moves: Sequence[Configuration], per_byte: bool) -> Configuration:
        chosen: Configuration = frozenset()
        while not self._late():
            have = self.value(chosen)
            room = self._budget - sum(map(self._bytes, chosen))
            best, best_gain = None, 0.0
            for move in moves:
                extra = move - chosen
                size = sum(map(self._bytes, extra))
                if not extra or size > room:
                    continue
                gain = self.value(chosen | extra) - have
                if per_byte:
                    gain /= max(size, PAGE_BYTES)
                if gain > best_gain:
                    best, best_gain = extra, gain
            if best is None:
                break
            chosen |= best
        return chosen

    def _mend(self, chosen: Configuration, moves: Sequence[Configuration]) -> Configuration:
        """Drop what does not pay any more, exchange one index for another, until nothing helps."""
        singles = [next(iter(m)) for m in moves if len(m) == 1]
        while not self._late():
            here = self.value(chosen)
            fewer = [chosen - {i} for i in sorted(chosen, key=lambda i: i.definition)]
            best = max(fewer, key=self.value, default=chosen)
            if self.value(best) < here or best == chosen:
                best = self._exchange(chosen, singles, here)
            if best is None:
                break
            chosen = best
        return chosen

    def _exchange(self, chosen: Configuration, singles: Sequence[IndexSpec], here: float) -> Configuration | None:
        """The best set that has another index of the same table in place of one, or of all that it makes needless."""
        room = self._budget - sum(map(self._bytes, chosen))
        best, best_value = None, here + _TELLS * self._floor
        for new in singles:
            same = frozenset(i for i in chosen if i.table == new.table and i.schema == new.schema)
            if new in chosen or not same:
                continue
            olds = [frozenset({i}) for i in sorted(same, key=lambda i: i.definition)]
            for old in olds if len(same) == 1 else [*olds, same]:
                if self._bytes(new) > room + sum(map(self._bytes, old)):
                    continue
                tried = (chosen - old) | {new}
                if (value := self.value(tried)) > best_value:
                    best, best_value = tried, value
        return best
