"""Which of the candidates together? Greedy growth under a budget, from both ends of the trade, then local mending.

Two greedy runs (by net saving, by net saving per byte) start the search; each step may add one index or the whole set
that a statement's best plan uses. Then indexes that no longer pay are dropped and single exchanges tried. What an index
costs those who write is part of every sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ooda_dagster.advisor.costs import Configuration, Costs, Judged
from ooda_dagster.core.indexes import IndexSpec

_PEELS = 5  # plans looked at for each statement, each without the index that the one before leant on
_CLOSE = 0.98  # of the best: among such moves the smaller one wins


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
        best = max(mended, key=lambda c: (self.net(c), -sum(map(self._bytes, c))), default=frozenset())
        return Found(best, self.net(best))

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
        return list(found)

    def _grow(self, moves: Sequence[Configuration], per_byte: bool) -> Configuration:
        chosen: Configuration = frozenset()
        while not self._late():
            gains: list[tuple[float, int, Configuration]] = []
            have = self.net(chosen)
            room = self._budget - sum(map(self._bytes, chosen))
            for move in moves:
                extra = move - chosen
                size = sum(map(self._bytes, extra))
                if not extra or size > room:
                    continue
                gain = self.net(chosen | extra) - have
                if gain > self._floor:
                    gains.append((gain / max(size, 8192) if per_byte else gain, size, extra))
            if not gains:
                break
            best = max(g for g, _, _ in gains)
            _, _, extra = min(((s, -g, e) for g, s, e in gains if g >= _CLOSE * best), key=lambda t: t[:2])
            chosen |= extra
        return chosen

    def _mend(self, chosen: Configuration, moves: Sequence[Configuration]) -> Configuration:
        """Drop what does not pay any more, then try to exchange one index for another, until nothing helps."""
        singles = [next(iter(m)) for m in moves if len(m) == 1]
        while not self._late():
            here = self.net(chosen)
            without = [(self.net(chosen - {i}), i) for i in sorted(chosen, key=lambda i: i.definition)]
            cheap = [(net, i) for net, i in without if here - net <= self._floor]
            if cheap:
                chosen -= {max(cheap, key=lambda t: t[0])[1]}
                continue
            better = self._exchange(chosen, singles, here)
            if better is None:
                break
            chosen = better
        return chosen

    def _exchange(self, chosen: Configuration, singles: Sequence[IndexSpec], here: float) -> Configuration | None:
        room = self._budget - sum(map(self._bytes, chosen))
        best, best_net = None, here + self._floor
        for old in sorted(chosen, key=lambda i: i.definition):
            for new in singles:
                if new in chosen or new.table != old.table or self._bytes(new) > room + self._bytes(old):
                    continue
                net = self.net((chosen - {old}) | {new})
                if net > best_net:
                    best, best_net = (chosen - {old}) | {new}, net
        return best
