"""What one read of a source found, and what the ledger is to remember of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ooda_dagster.core.request_page import Page
from ooda_dagster.ledger.request_files import RequestFile
from ooda_dagster.ledger.requests import Progress


@dataclass(frozen=True)
class Step:
    """forget: the keys and files of before mean nothing; anew: and the lookback is read again. files: that are new or
    were read; met: paths of others that are still there; troubles: files that could not be read, by name."""

    label: str
    now: datetime
    before: Progress | None
    after: Progress
    page: Page
    notes: list[str] = field(default_factory=list)
    forget: bool = False
    anew: bool = False
    files: Sequence[RequestFile] = ()
    met: Sequence[str] = ()
    troubles: list[str] = field(default_factory=list)
