"""Tables and values of metadata, bounded: they become rows of somebody's event log.

Dagster's own tables stand in the page; Markdown of more than 1,000 characters is behind a click there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.text import cut

MOST_ROWS = 20
#: Longest text of a cell. A statement of ours is shorter; a longer text is somebody's.
_LONGEST_CELL = 700
_LARGEST_JSON = 4_000


def table(rows: Sequence[Mapping[str, Any]], none: str = "none") -> dg.MetadataValue[Any]:
    """A table of the first rows, with the columns of the first; a word where there is none."""
    if not rows:
        return dg.MetadataValue.text(none)
    columns = list(rows[0])
    records = [dg.TableRecord({c: _cell(row.get(c)) for c in columns}) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        rest = f"and {len(rows) - MOST_ROWS} more"
        records.append(dg.TableRecord({c: rest if c == columns[0] else "" for c in columns}))
    schema = dg.TableSchema([dg.TableColumn(c, _type(records, c)) for c in columns])
    return dg.MetadataValue.table(records, schema)


def _cell(value: Any) -> str | int | float | bool:
    if value is None:
        return ""
    if isinstance(value, float):
        return round(value, 1) if abs(value) < 1000 else round(value)
    if isinstance(value, bool | int):
        return value
    return cut(str(value), _LONGEST_CELL)


def _type(records: Sequence[dg.TableRecord], column: str) -> str:
    kinds = {type(record.data[column]) for record in records}
    if kinds == {bool}:
        return "bool"
    return "string" if str in kinds else "float" if float in kinds else "int"


def sql(statements: Sequence[str]) -> str:
    """Statements of ours, which may hold a literal of a partial index."""
    return "; ".join(map(scrubbed, statements))


def number(value: float | int | None, otherwise: str) -> float | int | str:
    """A number that is plotted over time, or the word why there is none."""
    return otherwise if value is None else round(value, 3)


def some_json(value: Mapping[str, Any]) -> dg.MetadataValue[Any]:
    """JSON as it is, or its beginning as text."""
    text = json.dumps(value, default=str)
    if len(text) > _LARGEST_JSON:
        return dg.MetadataValue.text(cut(text, _LARGEST_JSON))
    return dg.MetadataValue.json(dict(value))
