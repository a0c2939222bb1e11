"""The newest inference requests, a batch at a time: by ADBC where it can, else through the session that is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from ooda_dagster.targets.base import Say
from ooda_dagster.targets.postgres.arrow import ArrowLogin, ArrowSession, reading
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.request_mapping import told

COLUMNS = (
    "key", "requested_s", "duration_ms", "status", "model", "operation", "tokens", "tokens_in", "tokens_out",
    "shown_id",
)  # fmt: skip
_NUMBERS = ("requested_s", "duration_ms", "tokens", "tokens_in", "tokens_out")
#: Of a statement: what is in memory at once, and what one timeout bounds.
BATCH_ROWS = 100_000
#: For fewer, a second session costs more than it saves: its driver reads the catalogue when it connects.
_WORTH_A_SESSION = 20_000
#: Times are compared as Unix time, which has a quarter of a microsecond here.
_ROUNDED = timedelta(milliseconds=1)
#: By whether the id is a UUID. An id that is a text may be anything; a UUID in it is none of somebody's.
ID_SHOWN = {
    True: "coalesce({id}::text, '(none)')",
    False: "coalesce(case when {id}::text ~* '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' "
    "then lower({id}::text) else 'hash ' || to_hex(hashtextextended({id}::text, 0)) end, '(none)')",
}


@dataclass(frozen=True)
class NewestRequests:
    """Iterates over frames of COLUMNS, at least one and perhaps empty. Raises TargetError.

    values: what the statement takes beside the bounds of a batch. why_not: why ADBC cannot read. limit: of rows, those
    before `since` that had to be passed over too.
    """

    numeric: bool
    since: datetime
    until: datetime
    values: dict[str, Any]
    limit: int
    say: Say
    connection: psycopg.Connection[Any]
    login: ArrowLogin | None
    why_not: str | None
    text: sql.Composed
    check: Callable[[sql.Composed, dict[str, Any]], None]
    label: str

    def __iter__(self) -> Iterator[pd.DataFrame]:
        bounds: dict[str, Any] = {"upto": 2**63 - 1, "below": 2**63 - 1, "below_s": float("inf"), "until": self.until}
        left, found = self.limit, 0
        with ExitStack() as stack:
            arrow = self._arrow(stack)
            while left > 0:
                values = {**self.values, "since": self.since, **bounds, "limit": min(left, BATCH_ROWS)}
                if left == self.limit:
                    self.check(self.text, values)
                frame = self._read(arrow, values)
                if frame.empty and found:
                    return
                yield frame
                if frame.empty or (len(frame) < values["limit"] and not self.numeric):
                    return
                left -= values["limit"]
                found += len(frame)
                if left > 0:
                    self.say(f"{found:,} of the newest requests are read, at most {self.limit:,}")
                bounds = self._next(frame, bounds)

    def _next(self, frame: pd.DataFrame, bounds: dict[str, Any]) -> dict[str, Any]:
        if self.numeric:
            return {**bounds, "upto": int(frame["key"].min()) - 1}
        last_s = float(frame["requested_s"].min())
        alike = frame["key"][frame["requested_s"] == last_s].dropna()  # without an id there is no order among them
        until = min(self.until, datetime.fromtimestamp(last_s, UTC) + _ROUNDED)
        return {**bounds, "below_s": last_s, "below": int(alike.min()) if len(alike) else -(2**63), "until": until}

    def _arrow(self, stack: ExitStack) -> ArrowSession | None:
        if self.limit < _WORTH_A_SESSION:
            return None
        if self.login is None or self.why_not is not None:
            self.say(f"requests are read row by row: {self.why_not}")
            return None
        try:
            return stack.enter_context(reading(self.connection, self.login))
        except psycopg.Error:
            self.say("no second session for ADBC could be opened: requests are read row by row")
            return None

    def _read(self, arrow: ArrowSession | None, values: dict[str, Any]) -> pd.DataFrame:
        try:
            if arrow is not None:
                frame = arrow.frame(self.text, values)
            else:
                with foreign_code(self.connection):
                    rows = self.connection.execute(self.text, values).fetchall()
                frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
        except psycopg.Error as error:
            raise told(error, f"reading {self.label}") from error
        return frame.astype(dict.fromkeys(_NUMBERS, float))
