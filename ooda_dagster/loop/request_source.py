"""Where are a target's inference requests read: from its table, or from Parquet files?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.base import Observing, RequestSource
from ooda_dagster.targets.parquet_requests import opened


@contextmanager
def request_source(
    loop: Loop, session: Observing, since: datetime, *, tenant: str | None = None
) -> Iterator[RequestSource | None]:
    """The source for what was requested since; None where there is none. tenant: only its requests.

    Of files, those that the intake has met and that are there still. Raises TargetError.
    """
    mapped = loop.settings.requests
    if not (mapped.enabled and mapped.parquet):
        yield session.request_table(mapped, tenant=tenant)
        return
    known = loop.ledger.requests.files(loop.name)
    with opened(mapped.parquet, mapped) as look:
        files = [
            f.path for f in look.listing() if f.path in known and (f.modified_at is None or f.modified_at >= since)
        ]
    with opened(mapped.parquet, mapped, tenant=tenant, files=files) as source:
        if files:
            source.check(files[-1])
        yield source
