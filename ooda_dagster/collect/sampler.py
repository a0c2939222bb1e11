"""Takes one sample of a target's statement counters and keeps the difference to the last one as a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from ooda_dagster.collect.deltas import COUNTED, TO_FRAME, difference, pack, unpack
from ooda_dagster.core.fingerprint import fingerprint, is_own, kind_of
from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.rollups import Snapshot
from ooda_dagster.targets.base import Observing, Target, TargetError

#: A quoted or a bare literal: a text without one tells no more than its normalised form.
_LITERAL = re.compile(r"'|(?<![\w$])\d")
#: A password's column, function or connection string: of those not even the short-lived table is told.
_SECRET = re.compile(r"passw|pwd|secret|crypt|token\b|api_?key|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Sample:
    """What a sample found. `error` names what stood in the way; nothing was stored then."""

    target: str
    taken_at: datetime | None = None
    statements: int = 0
    calls: int = 0
    first: bool = False
    gaps: list[str] = field(default_factory=list)
    hidden: int = 0
    error: str | None = None


def sample(target: Target, ledger: Ledger, policy: Sampling, *, connect_timeout_s: int | None = None) -> Sample:
    """Sample `target`, which must be registered. A target that cannot be read yields a Sample with an error."""
    try:
        with target.observing("sample", connect_timeout_s=connect_timeout_s) as session:
            return sample_session(target.name, session, ledger, policy)
    except TargetError as error:
        # What was sampled grows old all the same.
        ledger.literals.keep(target.name, [], now=datetime.now(UTC), days=policy.keep_literals_d)
        return Sample(target.name, error=str(error))


def sample_session(name: str, session: Observing, ledger: Ledger, policy: Sampling) -> Sample:
    """Sample through an open session."""
    rollups = ledger.rollups
    previous = rollups.snapshot(name)
    counters = session.counters()
    current = Snapshot(counters.taken_at, counters.epoch, pack(counters.frame))
    known = rollups.known_queries(name)
    # Before the first difference too: advice can begin from the server's own totals.
    hidden = counters.hidden + _learn(name, session, ledger, counters.frame, known)
    _sample_literals(name, session, ledger, known, counters.taken_at, policy)
    if previous is None:
        rollups.store(name, previous=None, current=current, frame=pd.DataFrame())
        return Sample(name, counters.taken_at, statements=len(known), first=True, hidden=hidden)

    delta, gaps = difference(unpack(previous.counters), counters.frame, previous.epoch, counters.epoch)
    if counters.taken_at <= previous.taken_at:
        delta, gaps = delta.iloc[:0], [*gaps, ("clock", f"it went back; the last sample is of {previous.taken_at}")]
    buckets = _by_statement(delta, known, policy.max_statements)
    stored = rollups.store(name, previous=previous, current=current, frame=buckets, gaps=gaps)
    if not stored:
        return Sample(name, error="another sampler was faster; nothing was lost")
    if previous.taken_at.hour != counters.taken_at.hour:
        rollups.compact(name, now=counters.taken_at, policy=policy)
    calls = int(buckets["n"].sum()) if len(buckets) else 0
    return Sample(name, counters.taken_at, len(buckets), calls, gaps=[f"{k}: {d}" for k, d in gaps], hidden=hidden)


def _learn(name: str, session: Observing, ledger: Ledger, frame: pd.DataFrame, known: dict[int, int | None]) -> int:
    """Register statements that were not seen before; returns how many texts are hidden from us."""
    new = [int(q) for q in frame["query_id"].unique() if int(q) not in known]
    if not new:
        return 0
    texts = session.texts(new)
    found = []
    for query_id, text in texts.items():
        own = is_own(text)
        found.append((query_id, None if own else fingerprint(text), "other" if own else kind_of(text), text))
    ledger.rollups.learn_queries(name, found)
    known.update(ledger.rollups.known_queries(name))
    return len(new) - len(texts)


def _sample_literals(
    name: str,
    session: Observing,
    ledger: Ledger,
    known: dict[int, int | None],
    now: datetime,
    policy: Sampling,
) -> None:
    """Keep a few texts of known statements with the literals that they have now, where they have any."""
    found: list[tuple[str, str]] = []
    for query_id, text in session.running() if policy.keep_literals_d else ():
        # A utility statement is not for EXPLAIN, and may hold a password.
        if known.get(query_id) is None or is_own(text) or kind_of(text) == "other":
            continue
        if _LITERAL.search(text) and not _SECRET.search(text):
            found.append((fingerprint(text), text))
    ledger.literals.keep(name, found, now=now, days=policy.keep_literals_d)


def _by_statement(delta: pd.DataFrame, known: dict[int, int | None], limit: int) -> pd.DataFrame:
    """Sum the query ids of a statement; keep the heaviest `limit`."""
    if delta.empty:
        return delta.rename(columns=TO_FRAME)
    delta = delta.assign(statement_id=delta["query_id"].map(known)).dropna(subset=["statement_id"])
    frame = delta.groupby("statement_id", as_index=False)[COUNTED].sum()
    return frame.nlargest(limit, "total_ms").rename(columns=TO_FRAME)
