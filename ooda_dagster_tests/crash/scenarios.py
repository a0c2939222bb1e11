"""What the crash matrix must know of each action type: its stage, a proposal, the statements that it sends.

A new type adds its scenario to SCENARIOS. `test_an_action_type_without_a_scenario_fails` waits for it, and a run
without a crash is compared with what the scenario says. Points of crash follow from the statements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster_tests.actions.stage import ON_CUSTOMER

#: What somebody does in an open transaction, so that a statement stops in its middle.
_WRITE = "update orders set note = note where id = 1"
_READ = "select count(*) from orders"


@dataclass(frozen=True)
class Statement:
    """One that an action sends.

    begins: the beginning of its text; held_by: a superuser's statement that makes it wait in its middle while its
    transaction is open. Of a catalogue that it writes to, `lock table pg_... in share mode` does it.
    """

    begins: str
    held_by: str


@dataclass(frozen=True)
class Scenario:
    """One action type on the stage: `orders(id, customer, status, placed, note)` with 3,000 analysed rows.

    proposal: of the change. apply, undo: what it sends, in order; no `undo` where the type has none.
    made_by: how many statements of `apply` it takes until recovery finds the object complete, and adopts it.
    prepare: SQL as the tables' owner, to set the stage. state: a query whose rows belong to what is compared, beyond
    the catalogue of ground.py (of ANALYZE: the statistics).
    """

    action_type: str
    proposal: Callable[[], Proposal]
    apply: tuple[Statement, ...]
    undo: tuple[Statement, ...]
    made_by: int
    prepare: str = ""
    state: str = ""

    def __str__(self) -> str:
        return self.action_type


SCENARIOS = (
    Scenario(
        "IndexOptimization",
        lambda: propose_index(ON_CUSTOMER),
        apply=(
            Statement("create index concurrently", held_by=_WRITE),
            Statement("comment on index", held_by="lock table pg_description in share mode"),
        ),
        undo=(Statement("drop index concurrently", held_by=_READ),),
        made_by=1,
    ),
)
