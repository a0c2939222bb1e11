"""PostgreSQL 15 to 18."""

from ooda_dagster.targets.postgres.target import PostgresTarget

__all__ = ["PostgresTarget"]
