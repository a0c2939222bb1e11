"""The rollup of inference requests: one SQL statement, whatever engine holds them.

PostgreSQL runs it where the table is, DuckDB over Parquet files; it keeps to what Spark SQL takes, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files

from ooda_dagster.core import requests as core
from ooda_dagster.core.request_settings import Requests

#: Stands for the query of requests in a statement that its engine completes.
HOLE = "\x00requests\x00"


@dataclass(frozen=True)
class Judging:
    """By what requests are judged.

    latest_s: a later request is of the future; fresh_s: one that ended before raises no alarm (both Unix time).
    """

    latest_s: float
    fresh_s: float
    ok: tuple[str, ...]
    failed: tuple[str, ...]
    max_groups: int

    @classmethod
    def of(cls, policy: Requests, now: datetime) -> Judging:
        latest = now + timedelta(seconds=policy.max_clock_skew_s)
        fresh = now - timedelta(seconds=policy.alarm_fresh_s)
        return cls(latest.timestamp(), fresh.timestamp(), policy.ok, policy.failed, policy.max_groups)


def rollup_statement(requests: str, judging: Judging) -> str:
    """The statement over `requests`, a query of key, requested_s, duration_ms, status, model, operation and tokens.

    Its rows: reason (null: they count), minute_s, model, operation, n, n_zero, failed, sum_ms, sum_ms_sq, sum_log_ms,
    sum_log_ms_sq, max_ms, tokens, first_s, last_s.
    """
    return f"with requests as (\n{requests}\n),\n{judged(judging)}{_text('roll_up_requests')}"


def page_statement(requests: str, judging: Judging, *, materialized: str = "", keys: str = "") -> str:
    """The rollup and, in the same look, the rows that may raise an alarm, and `keys`, a part of the engine's own.

    Its rows: core.request_page.COLUMNS. materialized: how the engine is told to compute `requests` once.
    """
    nulls = "cast(null as text) as keys, cast(null as bigint) as first_key, cast(null as bigint) as last_key"
    parts = [
        f"with requests as {materialized} (\n{requests}\n),",
        f"{judged(judging)}, rolled as (\n{_text('roll_up_requests')})",
        f"select 'sums' as part, rolled.*, {nulls} from rolled",  # noqa: S608
        _text("fresh_requests").format(fresh_s=repr(judging.fresh_s)),
    ]
    return "\n".join([*parts, keys])


def judged(judging: Judging) -> str:
    """The steps that say which of `requests` count: of each, `reason` is null, or why it does not."""
    return _text("judge_requests").format(
        failed=_listed(judging.failed),
        known=_listed((*judging.ok, *judging.failed)),
        latest_s=repr(judging.latest_s),
        latest_ever_s=repr(core.LATEST_S),
        longest_ms=repr(core.LONGEST_MS),
        twice=quoted(core.TWICE),
        no_time=quoted(core.NO_TIME),
        future=quoted(core.FUTURE),
        negative=quoted(core.NEGATIVE),
        no_duration=quoted(core.NO_DURATION),
        unknown=quoted(core.UNKNOWN),
    )


def quoted(text: str) -> str:
    """A literal, as every engine reads it: PostgreSQL with standard_conforming_strings, which sessions of ours have."""
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(quoted, words)) or "null"


@cache
def _text(name: str) -> str:
    return (files("ooda_dagster.targets") / "sql" / f"{name}.sql").read_text()
