"""What the last samples of a target's tables counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import table_sample

#: Rows of tables that nobody asks for any more go; longer than `statistics.sample_again_h` may be.
_KEPT = timedelta(days=60)


@dataclass(frozen=True)
class TableSample:
    """A sample of some columns. relation, columns: quoted as in SQL. analyzed_at: the table's last ANALYZE by then.

    counts: what was counted, as the sampler keeps it; None where the sample failed.
    """

    relation: str
    columns: str
    table_oid: int
    sampled_at: datetime
    analyzed_at: datetime | None
    counts: list[dict[str, Any]] | None


class TableSamples:
    """The last sample of each set of columns."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def of(self, target: str) -> dict[tuple[str, str], TableSample]:
        """By relation and columns."""
        fields = [table_sample.c[name] for name in TableSample.__dataclass_fields__]
        with connection(self._engine) as conn:
            rows = conn.execute(sa.select(*fields).where(table_sample.c.target == target)).mappings()
            return {(row["relation"], row["columns"]): TableSample(**row) for row in rows}

    def keep(self, target: str, sample: TableSample) -> None:
        """Take a sample in place of the one before it."""
        row = insert(table_sample).values(target=target, **asdict(sample))
        key = ["target", "relation", "columns"]
        newer = {c.name: row.excluded[c.name] for c in table_sample.c if c.name not in key}
        old = sa.and_(table_sample.c.target == target, table_sample.c.sampled_at < sample.sampled_at - _KEPT)
        with connection(self._engine) as conn:
            conn.execute(sa.delete(table_sample).where(old))
            conn.execute(row.on_conflict_do_update(index_elements=key, set_=newer))
