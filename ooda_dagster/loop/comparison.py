"""What a change set is compared with: its statements' past, and those that no action reached meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from ooda_dagster.core.question import Question
from ooda_dagster.core.settings import Verifying
from ooda_dagster.core.verdict import Verdict
from ooda_dagster.ledger.verifications import Verification
from ooda_dagster.loop.changes import last_changes, since_changes
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.verdict_bar import JUDGED, policy_of

#: Kinds of statements that can stand in a control group: what they do is work in tables.
_WORK = ("select", "insert", "update", "delete", "merge")


@dataclass(frozen=True)
class Comparison:
    """The rollup's rows around a change set, its control group, and times that count for neither side.

    beside: the control are other statements on the same tables, as nothing else runs. policy: with the target's bar.
    """

    verification: Verification
    frame: pd.DataFrame
    control: frozenset[str]
    beside: bool
    excluded: tuple[tuple[datetime, datetime], ...]
    policy: Verifying
    now: datetime

    def question(
        self, *, treated: Collection[str] | None = None, policy: Verifying | None = None, looser: bool = False
    ) -> Question:
        """What is asked of the change set, or of some of the statements that it reached."""
        seen = self.verification
        return Question(
            rollup=self.frame,
            acted_at=seen.acted_from,
            acted_until=seen.acted_until or seen.acted_from,
            now=self.now,
            treated=frozenset(seen.treated if treated is None else treated),
            control=self.control,
            excluded=self.excluded,
            policy=policy or self.policy,
            control_is="other statements on the same tables" if self.beside else "statements on other tables",
            looser=looser,
        )

    def verdict(self, treated: Collection[str] | None = None, policy: Verifying | None = None) -> Verdict:
        """The verdict on the change set, or on some of the statements that it reached."""
        return self.question(treated=treated, policy=policy).answer()


def compare(loop: Loop, verification: Verification, now: datetime) -> Comparison:
    """Gather what a verdict on a change set at `now` is reached from."""
    policy = policy_of(loop.ledger, loop.name, loop.settings.verifying)
    since = verification.acted_from - timedelta(hours=policy.baseline_h)
    # Before an earlier action changed it, a statement was another one: its baseline begins there.
    changed = last_changes(loop.ledger, loop.name, since=since, until=verification.acted_from, bystanders=True)
    frame = since_changes(loop.ledger.rollups.frame(loop.name, since, now, columns=JUDGED), changed)
    kinds = loop.ledger.rollups.statements(loop.name).set_index("fingerprint")["kind"]
    treated = set(verification.treated)
    gaps = loop.ledger.rollups.gaps(loop.name, since, now)
    others = [
        (begin, end)
        for begin, end in loop.ledger.verifications.builds(loop.name, since)
        if begin != verification.acted_from
    ]
    excluded = others + [(row.since, row.until) for row in gaps.itertuples() if row.kind not in ("eviction",)]
    work = set(kinds.index[kinds.isin(_WORK)]) - treated
    control = _untouched(loop, verification, work) & set(frame["fingerprint"].unique())
    beside = not control
    if beside:  # nothing else runs here: what reads the same tables and does not use the change is next best
        control = set(verification.bystanders) - treated
    return Comparison(
        verification=verification,
        frame=frame,
        control=frozenset(control),
        beside=beside,
        excluded=tuple(excluded),  # type: ignore[arg-type]
        policy=policy,
        now=now,
    )


def _untouched(loop: Loop, verification: Verification, candidates: set[str]) -> set[str]:
    """Statements that no action reached in the time that is compared."""
    control = candidates - set(verification.bystanders)
    for other in loop.ledger.verifications.since(loop.name, verification.acted_from):
        if other.change_set_id != verification.change_set_id:
            control -= set(other.treated) | set(other.bystanders)
    return control
