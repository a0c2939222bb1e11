"""Turns a normalised statement into texts that EXPLAIN can price: several bindings of its parameters.

Of a statement that writes, the part that reads is priced: an index's upkeep is counted on its own, and EXPLAIN of a
write needs the right to write. GENERIC_PLAN is the last resort, and labelled.
"""

# pglast types every field as optional; what the grammar guarantees is not checked again.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pglast
from pglast import ast
from pglast.stream import RawStream

from ooda_dagster.advisor.parsing import parse
from ooda_dagster.advisor.shape import Shape, UnreadableStatementError
from ooda_dagster.advisor.values import literal
from ooda_dagster.core.fingerprint import MAX_PARSED_BYTES

#: Places in the distribution of rows at which equalities are bound. The last is a rare value: an index that serves only
#: the common ones leaves the slow calls slow.
PLACES = (0.1, 0.5, 0.9, 0.99)
#: Shares of a table that ranges are tried with; the one that yields as many rows as were measured is used.
SHARES = (0.0005, 0.005, 0.05, 0.3)
#: Where the number of rows tells nothing: a statement with LIMIT or an aggregate.
DEFAULT_SHARE = 0.05

#: Words that can stand before a literal to give its type, beside names: `interval $1` is what pg_stat_statements makes
#: of `interval '1 day'`, and is no SQL.
_TYPE_WORDS = frozenset(
    {"IDENT", "INTERVAL", "TIMESTAMP", "TIME", "NUMERIC", "DECIMAL_P", "BOOLEAN_P", "BIGINT", "SMALLINT", "INTEGER"}
    | {"INT_P", "REAL", "VARCHAR", "JSON", "TEXT_P", "NAME_P"}
)
_ENDINGS = (("TIME", "ZONE"), ("DOUBLE_P", "PRECISION"))  # of types that are more than one word
_UNITS = frozenset({"YEAR_P", "MONTH_P", "DAY_P", "HOUR_P", "MINUTE_P", "SECOND_P", "TO"})


@dataclass(frozen=True)
class Binding:
    """A text to price. `generic`: its parameters are left as they are."""

    text: str
    generic: bool = False


def mended(text: str) -> str:
    """A normalised text as SQL again where normalising broke it."""
    try:
        tokens = pglast.parser.scan(text) if "$" in text and len(text) <= MAX_PARSED_BYTES else ()
    except (pglast.Error, ValueError):
        return text
    parts, position = [], 0
    for n, token in enumerate(tokens):
        first = _type_before(tokens, n) if token.name == "PARAM" else n
        if first == n:
            continue
        last = n
        while tokens[first].name == "INTERVAL" and last + 1 < len(tokens) and tokens[last + 1].name in _UNITS:
            last += 1
        kind = text[tokens[first].start : tokens[n - 1].end + 1] + text[token.end + 1 : tokens[last].end + 1]
        parts += [text[position : tokens[first].start], f"CAST({text[token.start : token.end + 1]} AS {kind})"]
        position = tokens[last].end + 1
    return "".join(parts) + text[position:]


def _type_before(tokens: Sequence[Any], n: int) -> int:
    """Where the type's name begins that stands before token `n`; `n` where none does."""
    names = [token.name for token in tokens[max(0, n - 5) : n]]
    if tuple(names[-2:]) in _ENDINGS:
        # double precision · [timestamp | time] with | without time zone
        return n - 2 if names[-1] == "PRECISION" else n - 4
    if not names or names[-1] not in _TYPE_WORDS:
        return n
    first = n - 1
    while names[-1] == "IDENT" and first >= 2 and tokens[first - 1].name == "ASCII_46":
        first -= 2
    return first


def readable_part(shape: Shape) -> str | None:
    """The SELECT whose plan is worth pricing; None where a statement reads nothing (INSERT ... VALUES)."""
    node = parse(shape.text)[0].stmt
    if isinstance(node, ast.SelectStmt):
        if node.lockingClause:
            node.lockingClause = None  # EXPLAIN ... FOR UPDATE needs the right to update
            return RawStream()(node)
        return shape.text
    if isinstance(node, ast.InsertStmt):
        source = node.selectStmt
        if source is None or source.valuesLists:
            return None
        source.withClause = source.withClause or node.withClause
        return RawStream()(source)
    if isinstance(node, (ast.UpdateStmt, ast.DeleteStmt)):
        if node.whereClause is None:
            return None
        further = node.fromClause if isinstance(node, ast.UpdateStmt) else node.usingClause
        one = ast.ResTarget(val=ast.A_Const(isnull=False, val=ast.Integer(ival=1)))
        select = ast.SelectStmt(
            targetList=(one,),
            fromClause=(node.relation, *(further or ())),
            whereClause=node.whereClause,
            withClause=node.withClause,
            all=False,
            limitOption=pglast.enums.LimitOption.LIMIT_OPTION_DEFAULT,
            op=pglast.enums.SetOperation.SETOP_NONE,
        )
        return RawStream()(select)
    raise UnreadableStatementError(f"{type(node).__name__.removesuffix('Stmt').upper()} is not priced")


def bindings(shape: Shape, text: str, *, rows_per_call: float, share: float) -> list[Binding]:
    """Texts with literals in place of parameters, one for each of PLACES; one where no equality is bound.

    text: what `readable_part` gave. A parameter for which no value is known makes the binding generic.
    """
    used = {int(n) for _, _, n in _parameters(text)}
    if not used:
        return [Binding(text)]
    has_equality = any(p.table is not None and p.operator == "=" for n, p in shape.parameters.items() if n in used)
    found: list[Binding] = []
    for place in PLACES if has_equality else PLACES[1:2]:
        values: dict[int, str] = {}
        for number in used:
            parameter = shape.parameters.get(number)
            value = (
                literal(parameter, shape, place=place, share=share, rows_per_call=rows_per_call) if parameter else None
            )
            if value is None:
                return [Binding(text, generic=True)]
            values[number] = value
        binding = Binding(_replace(text, values))
        if binding not in found:
            found.append(binding)
    return found


def has_range(shape: Shape) -> bool:
    """Whether the share of rows is ours to choose."""
    return any(p.operator in ("<", "<=", ">", ">=") and p.table is not None for p in shape.parameters.values())


def _parameters(text: str) -> list[tuple[int, int, str]]:
    """(start, end, number) of each `$n`, told from dollar quotes by PostgreSQL's own scanner."""
    found = []
    for token in pglast.parser.scan(text):
        if token.name == "PARAM":
            # scan counts the last character in
            found.append((token.start, token.end + 1, text[token.start + 1 : token.end + 1]))
    return found


def _replace(text: str, values: dict[int, str]) -> str:
    parts, position = [], 0
    for start, end, number in _parameters(text):
        parts += [text[position:start], " ", values[int(number)]]
        position = end
    return "".join(parts) + text[position:]
