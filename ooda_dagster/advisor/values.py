"""Which literal stands for a parameter? Values from the column's statistics, at chosen places of its distribution.

They are samples of a user's data: they go into EXPLAIN and nowhere else.
"""

from __future__ import annotations

import re

from ooda_dagster.advisor.shape import Parameter, Shape
from ooda_dagster.core.catalogue import ColumnStatistics
from ooda_dagster.core.identifiers import quote_literal

#: How many values an array parameter gets: nobody knows how many an application sends.
_ARRAY_LENGTH = 3

_BY_TYPE = {
    "bool": "t", "boolean": "t", "int2": "1", "int4": "1", "int8": "1", "integer": "1", "bigint": "1",
    "smallint": "1", "numeric": "1", "float4": "1", "float8": "1", "text": "x", "varchar": "x", "bpchar": "x",
    "uuid": "00000000-0000-0000-0000-000000000000", "date": "2020-01-01", "timestamp": "2020-01-01",
    "timestamptz": "2020-01-01", "interval": "1 day", "json": "{}", "jsonb": "{}", "bytea": "\\x00",
    "inet": "127.0.0.1",
}  # fmt: skip

#: Share of the rows that a range takes → the interval that is likely meant by it.
_INTERVALS = ((0.001, "10 minutes"), (0.01, "1 hour"), (0.1, "1 day"), (1.0, "7 days"))


def literal(parameter: Parameter, shape: Shape, *, place: float, share: float, rows_per_call: float) -> str | None:
    """SQL of a value for a parameter; None where nothing sensible is known.

    place: 0..1, where in the distribution of rows an equality's value lies (0: the most common value).
    share: 0..1, how many of the rows a range should take.
    """
    if parameter.role == "limit":
        return str(max(1, round(rows_per_call)))
    if parameter.role == "offset":
        return "0"
    if parameter.role == "interval":
        return quote_literal(next(text for bound, text in _INTERVALS if share <= bound))
    if parameter.table is not None and parameter.column is not None:
        return _of_column(parameter, shape, place, share)
    if parameter.cast is not None:
        if parameter.cast.endswith("[]"):
            return quote_literal("{}")
        known = _BY_TYPE.get(parameter.cast)
        return quote_literal(known) if known is not None else None
    return quote_literal("1")  # an untyped literal takes the type that its place wants


def _of_column(parameter: Parameter, shape: Shape, place: float, share: float) -> str | None:
    assert parameter.table is not None
    assert parameter.column is not None
    column = parameter.table.columns.get(parameter.column)
    if column is None:
        return None
    statistics = column.statistics
    if parameter.operator in ("<", "<=", ">", ">="):
        value = _range_value(statistics, parameter, shape, share)
    elif parameter.operator in ("~~", "~~*"):
        found = _value(statistics, place)
        value = f"{found[:3]}%" if found else "abc%"
    else:
        value = _value(statistics, place)
    if parameter.many:
        step = 1 / (_ARRAY_LENGTH + 1)
        several = [_value(statistics, (place + n * step) % 1) for n in range(_ARRAY_LENGTH)]
        values = [v if v is not None else _default(column.type) for v in several]
        if any(v is None for v in values):
            return None
        return f"{quote_literal(_array([str(v) for v in values]))}::{column.type}[]"
    if value is None:
        value = _default(column.type)
    return None if value is None else f"{quote_literal(value)}::{column.type}"


def _default(type_name: str) -> str | None:
    """A value of a type that has no statistics."""
    if vector := re.search(r"\b(?:half)?vec(?:tor)?\((\d+)\)", type_name):
        return "[" + ",".join(["0.1"] * int(vector.group(1))) + "]"
    base = re.sub(r"\(.*?\)", "", type_name).strip()
    aliases = {"character varying": "varchar", "character": "bpchar", "double precision": "float8", "real": "float4"}
    if base.startswith("timestamp"):
        return _BY_TYPE["timestamptz"]
    return _BY_TYPE.get(aliases.get(base, base))


def _array(values: list[str]) -> str:
    quoted = ('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values)
    return "{" + ",".join(quoted) + "}"


def _value(statistics: ColumnStatistics | None, place: float) -> str | None:
    """The value at a place of the rows, common values first, then the histogram in its order."""
    if statistics is None:
        return None
    passed = 0.0
    for value, frequency in zip(statistics.common_values, statistics.common_freqs, strict=False):
        passed += frequency
        if place < passed:
            return value
    if statistics.histogram:
        rest = max(1e-9, 1 - statistics.null_frac - passed)
        position = min(0.999, max(0.0, (place - passed) / rest))
        return statistics.histogram[int(position * len(statistics.histogram))]
    return statistics.common_values[-1] if statistics.common_values else None


def _range_value(statistics: ColumnStatistics | None, parameter: Parameter, shape: Shape, share: float) -> str | None:
    """A bound such that the range takes about `share` of the rows."""
    if statistics is None:
        return None
    bounds = statistics.histogram or _sorted(statistics.common_values)
    if not bounds:
        return None
    between = any(
        other is not parameter
        and other.table is parameter.table
        and other.column == parameter.column
        and other.operator[:1] in "<>"
        and other.operator[:1] != parameter.operator[:1]
        for other in shape.parameters.values()
    )
    if between:  # two bounds: centred
        position = 0.5 - share / 2 if parameter.operator.startswith(">") else 0.5 + share / 2
    else:
        position = 1 - share if parameter.operator.startswith(">") else share
    return bounds[round(position * (len(bounds) - 1))]


def _sorted(values: tuple[str, ...]) -> list[str]:
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)
