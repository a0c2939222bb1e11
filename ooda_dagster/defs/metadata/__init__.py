"""What does a person see of a message in the Dagster UI? One sentence, numbers, tables, a chart. One module a phase.

Keys are there in every cycle, so that Dagster plots the numbers over time. Never a literal of a statement.
"""

from ooda_dagster.defs.metadata.describe import describe
from ooda_dagster.defs.metadata.tables import table

__all__ = ["describe", "table"]
