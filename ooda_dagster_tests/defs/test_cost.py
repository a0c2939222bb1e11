"""What do many cycles cost Dagster's storage and ours?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from dagster._serdes import serialize_value

from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger.database import connection
from ooda_dagster_tests.defs.ground import Ground

CYCLES = 200


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_no_cycle_of_two_hundred_costs_more_than_80_rows_and_150_kb(shop: Callable[[Mode], Ground]) -> None:
    made = shop(Mode.AUTO)
    costs = []
    for _ in range(CYCLES):
        events = list(made.instance.all_logs(made.cycle().run_id))
        costs.append((len(events), sum(len(serialize_value(event)) for event in events)))
    rows, sizes = [c[0] for c in costs], [c[1] for c in costs]
    with connection(made.ledger.engine) as conn:
        kept = conn.execute(sa.text("select pg_total_relation_size('ooda.message')")).scalar_one()
    print(
        f"{CYCLES} cycles: {min(rows)}-{max(rows)} event rows, {min(sizes) / 1e3:.0f}-{max(sizes) / 1e3:.0f} KB each; "
        f"the ledger keeps {kept / CYCLES / 1000:.0f} KB of messages a cycle"
    )
    assert max(rows) <= 80
    assert max(sizes) <= 150_000
