"""What one bounded read of inference requests found, as the engine that holds them summed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from ooda_dagster.core.requests import FOLDED, SUMS, folded

#: What a page's statement returns; see targets/request_rollup.py.
COLUMNS = (
    "part", "reason", "minute_s", "model", "operation", "n", "n_zero", "failed", "sum_ms", "sum_ms_sq", "sum_log_ms",
    "sum_log_ms_sq", "max_ms", "tokens", "first_s", "last_s", "keys", "first_key", "last_key",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """rows: that were consumed, of which `good` count and the others are in `rejected` by reason.

    sums: minute, model, operation, the sums and max_ms. fresh: those that may raise an alarm: model, operation, failed,
    duration_ms, and n of them. folded: requests that count under a name of many. keys: what was consumed, as the text
    of an int8multirange by the minute of the request, or under None where that does not tell its age. last_s: the
    latest time of a row (Unix time), bad ones too. window: first and last time of those that count.
    """

    rows: int = 0
    good: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    folded: int = 0
    sums: pd.DataFrame = field(default_factory=pd.DataFrame)
    fresh: pd.DataFrame = field(default_factory=pd.DataFrame)
    keys: Mapping[datetime | None, str] = field(default_factory=dict)
    first_key: int | None = None
    last_key: int | None = None
    last_s: float | None = None
    window: tuple[float, float] | None = None

    @property
    def left_out(self) -> dict[str, int]:
        """By reason: rows that do not count, and those that count without their name."""
        return {**self.rejected, **({FOLDED: self.folded} if self.folded else {})}


def page_of(found: Sequence[Sequence[Any]], max_groups: int) -> Page:
    """A page from the rows of its statement."""
    rows = [row for row in found if row[0] != "keys"]
    if not rows:
        return Page()
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    every, fresh = frame[frame["part"] == "sums"], frame[frame["part"] == "fresh"]
    counts = every["reason"].isna()
    good, bad = every[counts], every[~counts]
    sums = good[["model", "operation", *SUMS, "max_ms"]].astype(dict.fromkeys((*SUMS[3:], "max_ms"), float))
    minutes = pd.to_datetime(good["minute_s"].astype(float), unit="s", utc=True)
    named, lost = folded(_told(sums.assign(minute=minutes)), max_groups)
    alike = _told(fresh[["model", "operation", "failed", "sum_ms", "n"]])
    # As they came: in a frame with nulls, a whole number of 64 bits loses its end.
    keys = [dict(zip(COLUMNS, row, strict=True)) for row in found if row[0] == "keys"]
    latest = [float(k["last_s"]) for k in keys if k["last_s"] is not None]
    return Page(
        rows=int(every["n"].sum()),
        good=int(good["n"].sum()),
        rejected={str(reason): int(n) for reason, n in bad.groupby("reason")["n"].sum().items()},
        folded=lost,
        sums=named,
        fresh=alike.rename(columns={"sum_ms": "duration_ms"}).assign(failed=alike["failed"].astype(bool)),
        keys={_moment(k["minute_s"]): str(k["keys"]) for k in keys},
        first_key=keys[0]["first_key"] if keys else None,
        last_key=keys[0]["last_key"] if keys else None,
        last_s=max(latest, default=None),
        window=(float(good["first_s"].min()), float(good["last_s"].max())) if len(good) else None,
    )


def merged(pages: Sequence[Page], max_groups: int) -> Page:
    """One page of several that have no keys."""
    pages = [page for page in pages if page.rows]
    if len(pages) < 2:
        return pages[0] if pages else Page()
    rejected: dict[str, int] = {}
    for page in pages:
        for reason, n in page.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + n
    sums, lost = folded(pd.concat([p.sums for p in pages], ignore_index=True), max_groups)
    windows = [p.window for p in pages if p.window]
    return Page(
        rows=sum(p.rows for p in pages),
        good=sum(p.good for p in pages),
        rejected=rejected,
        folded=lost + sum(p.folded for p in pages),
        sums=sums,
        fresh=pd.concat([p.fresh for p in pages], ignore_index=True),
        window=(min(w[0] for w in windows), max(w[1] for w in windows)) if windows else None,
    )


def _told(rows: pd.DataFrame) -> pd.DataFrame:
    """A database's text holds no NUL; that of a file may."""
    texts = {c: rows[c].astype(object).map(lambda text: str(text).replace("\0", "�")) for c in ("model", "operation")}
    return rows.assign(**texts)


def _moment(minute_s: Any) -> datetime | None:
    return None if minute_s is None else datetime.fromtimestamp(float(minute_s), UTC)
