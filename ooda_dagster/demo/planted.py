"""Which problems does a seed plant, and what is the truth about them?

Every index of the pool exists in the template; planting is dropping. One index more is a person's own idea: it helps a
rare report and makes every hot update of its table expensive.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_TABLES = ("inference_requests", "atoms", "atom_embeddings", "inference_cache")


@dataclass(frozen=True)
class Missing:
    """An index that the service needs. `equivalents`: other key orders that serve its statement as well."""

    name: str
    table: str
    columns: tuple[str, ...]
    statement: str
    why: str
    order_matters: bool = False
    equivalents: tuple[tuple[str, ...], ...] = ()

    @property
    def index(self) -> str:
        """Its name in the template."""
        return f"{self.table}_{'_'.join(self.columns)}"

    @property
    def ddl(self) -> str:
        return f"CREATE INDEX {self.index} ON {self.table} ({', '.join(self.columns)})"

    def served_by(self, table: str, columns: tuple[str, ...]) -> bool:
        """Whether an index on these keys serves the statement as the truth does."""
        wanted = (self.columns, *self.equivalents)
        return table == self.table and any(columns[: len(keys)] == keys for keys in wanted)


@dataclass(frozen=True)
class Harmful:
    """A person's proposal that costs more than it gives, and the report that it was meant for."""

    table: str
    ddl: str
    columns: tuple[str, ...]
    report: str
    why: str


#: Everything that the service's statements need.
POOL: tuple[Missing, ...] = (
    Missing("request by correlation", "inference_requests", ("correlation_id",), "request_by_correlation", "equality"),
    Missing(
        "tenant's newest requests",
        "inference_requests",
        ("tenant_id", "request_timestamp"),
        "tenant_newest",
        "equality, then the order of the list: the other way round every tenant's rows are read",
        order_matters=True,
    ),
    Missing(
        "session's window",
        "inference_requests",
        ("session_id", "request_timestamp"),
        "session_window",
        "equality, then a range",
        order_matters=True,
        equivalents=(("session_id",),),
    ),
    Missing(
        "queue of pending requests",
        "inference_requests",
        ("status", "request_timestamp"),
        "queue_head",
        "few rows are pending, and the oldest come first",
        order_matters=True,
        equivalents=(("status",),),
    ),
    Missing("atom by content", "atoms", ("content_hash",), "atom_by_hash", "equality on a unique value"),
    Missing("atoms of a source", "atoms", ("source_uri",), "atoms_of_source", "equality, a few rows each"),
    Missing(
        "tenant's newest atoms",
        "atoms",
        ("tenant_id", "modality", "created_at"),
        "tenant_atoms",
        "two equalities, then the order of the list",
        order_matters=True,
        equivalents=(("modality", "tenant_id", "created_at"),),
    ),
    Missing("embeddings of an atom", "atom_embeddings", ("atom_id",), "embeddings_of_atoms", "a join column"),
    Missing(
        "bucket neighbourhood",
        "atom_embeddings",
        ("bucket_x", "bucket_y"),
        "bucket_neighbours",
        "equality on one coordinate, a range on the other",
        order_matters=True,
    ),
    Missing(
        "model's newest embeddings",
        "atom_embeddings",
        ("model_id", "created_at"),
        "model_newest",
        "equality, then the order of the list",
        order_matters=True,
    ),
    Missing(
        "cache look-up",
        "inference_cache",
        ("input_hash", "model_id"),
        "cache_lookup",
        "two equalities; the hash alone is nearly unique",
        equivalents=(("input_hash",), ("model_id", "input_hash")),
    ),
)

_HARMFUL: tuple[Harmful, ...] = (
    Harmful(
        "atoms",
        "CREATE INDEX atoms_for_weekly_report ON atoms (reference_count DESC, updated_at, canonical_text)",
        ("reference_count", "updated_at", "canonical_text"),
        "atoms_report",
        "reference_count and updated_at change with every use of an atom",
    ),
    Harmful(
        "atom_embeddings",
        "CREATE INDEX embeddings_for_weekly_report ON atom_embeddings (access_count DESC, last_accessed_at, bucket_x)",
        ("access_count", "last_accessed_at", "bucket_x"),
        "embeddings_report",
        "access_count and last_accessed_at change with every search",
    ),
    Harmful(
        "inference_cache",
        "CREATE INDEX cache_for_weekly_report ON inference_cache (access_count DESC, last_accessed_at, input_hash)",
        ("access_count", "last_accessed_at", "input_hash"),
        "cache_report",
        "access_count and last_accessed_at change with every hit",
    ),
)


@dataclass(frozen=True)
class Plan:
    """What a seed plants. `selectivity` shifts the parameters of the traffic: how skewed tenants are."""

    seed: int
    missing: tuple[Missing, ...]
    harmful: Harmful
    skew: float
    range_days: float

    @property
    def truth(self) -> list[str]:
        """What a perfect adviser would do."""
        return [m.ddl for m in self.missing]


def plan(seed: int) -> Plan:
    """The plan of a seed: two or three missing indexes on two tables, one of them with an order that matters.

    The harmful index goes on a third table, and the fourth stays as it is: its statements are everybody's control.
    """
    chance = random.Random(f"ooda demo {seed}")
    harmful = chance.choice(_HARMFUL)
    tables = chance.sample([t for t in _TABLES if t != harmful.table], 2)
    if not any(m.order_matters for m in POOL if m.table in tables):
        tables[0] = "inference_requests"
    composite = chance.choice([m for m in POOL if m.table in tables and m.order_matters])
    other_table = next(t for t in tables if t != composite.table)
    chosen = [composite, chance.choice([m for m in POOL if m.table == other_table])]
    rest = [m for m in POOL if m.table in tables and m not in chosen]
    if rest and chance.random() < 0.5:
        chosen.append(chance.choice(rest))
    return Plan(seed, tuple(chosen), harmful, chance.uniform(0.6, 1.1), chance.uniform(10, 40))
