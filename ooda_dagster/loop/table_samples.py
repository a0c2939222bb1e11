"""Samples of the target's tables: each taken seldom, a few in a cycle, and its counts used until it is taken again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ooda_dagster.core.catalogue import Table
from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.core.settings import Statistics
from ooda_dagster.core.statistics import PairSample, RareSample, TableStatistics
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.samples import TableSample
from ooda_dagster.targets.base import Observing, TargetError

#: When what was never sampled was sampled last.
NEVER = datetime.min.replace(tzinfo=UTC)


class TableSampler:
    """Takes samples, and remembers them in the ledger. left_alone: relations with a change that is being judged."""

    def __init__(
        self, ledger: Ledger, target: str, policy: Statistics, now: datetime, left_alone: Collection[str] = ()
    ) -> None:
        self._ledger, self._target, self._policy, self._now = ledger, target, policy, now
        self._known = ledger.table_samples.of(target)
        self._taken = 0
        self.left_alone = frozenset(left_alone)

    def pairs(
        self, session: Observing, table: Table, columns: Sequence[str], kept: TableStatistics
    ) -> list[PairSample] | None:
        """How often rows agree in each two of the columns; None where no more may be sampled in this cycle.

        Raises TargetError where the sample fails, or failed the last time.
        """
        counts = self._counts(
            table, columns, kept, lambda: [asdict(p) for p in session.sample_pairs(table, columns, self._policy)]
        )
        return None if counts is None else [PairSample(**c) for c in counts]

    def rare(self, session: Observing, table: Table, column: str, kept: TableStatistics) -> RareSample | None:
        """How often rows share a value that is not common; None and errors as of `pairs`."""
        counts = self._counts(table, [column], kept, lambda: [asdict(session.sample_rare(table, column, self._policy))])
        return None if counts is None else RareSample(**counts[0])

    def last(self, table: Table, columns: Sequence[str], kept: TableStatistics) -> datetime | None:
        """When columns whose sample is due were sampled last, the distant past for never; None: it is not due."""
        known = self._known.get(_key(table, columns))
        if known is None:
            return NEVER
        return known.sampled_at if self._due(known, kept) else None

    def _due(self, known: TableSample, kept: TableStatistics) -> bool:
        again = known.sampled_at + timedelta(hours=self._policy.sample_again_h) <= self._now
        # None: a crash of the server lost its memory of when; the counts are as good as before.
        analyzed = kept.last_known is not None and kept.last_known != known.analyzed_at
        return again or analyzed or kept.oid != known.table_oid

    def _counts(
        self, table: Table, columns: Sequence[str], kept: TableStatistics, take: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]] | None:
        key = _key(table, columns)
        known = self._known.get(key)
        if known is not None and not self._due(known, kept):
            if known.counts is None:
                again = f"statistics.sample_again_h ({self._policy.sample_again_h:g})"
                raise TargetError(f"the sample of {known.sampled_at:%Y-%m-%d %H:%M} UTC failed; again after {again}")
            return known.counts
        if self._taken >= self._policy.max_samples:
            return None
        self._taken += 1
        try:
            counts = take()
        except TargetError:
            self._keep(key, kept, None)
            raise
        self._keep(key, kept, counts)
        return counts

    def _keep(self, key: tuple[str, str], kept: TableStatistics, counts: list[dict[str, Any]] | None) -> None:
        sample = TableSample(*key, kept.oid, self._now, kept.last_known, counts)
        self._ledger.table_samples.keep(self._target, sample)
        self._known[key] = sample


def _key(table: Table, columns: Sequence[str]) -> tuple[str, str]:
    return table.label, ", ".join(quote_identifier(c) for c in columns)
