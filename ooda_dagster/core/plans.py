"""Which plan is this? A plan without costs, rows, times and literals: its hash, and lines that a person can read.

Two plans have one hash where the same nodes read the same relations by the same indexes in the same order. Numbers of
workers do not count, nor which and how many partitions were left after pruning: their parts are told by the alias of
the whole, their indexes by what they are on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pglast
from pglast import parser

from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.text import cut

#: What of a node is shown, in order. No other field of a plan is kept: most may hold a literal.
_CONDITIONS = (
    "Index Cond", "Recheck Cond", "TID Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter", "One-Time Filter",
    "Order By", "Sort Key", "Presorted Key", "Group Key", "Cache Key",
)  # fmt: skip
#: Whether a node has one is part of the hash: an index read from end to end is another plan than a look-up in it.
_TELLING = ("Index Cond", "Hash Cond", "Merge Cond")
_AGGREGATES = {"Plain": "Aggregate", "Sorted": "GroupAggregate", "Hashed": "HashAggregate", "Mixed": "MixedAggregate"}
_LITERALS = frozenset({"SCONST", "BCONST", "XCONST", "USCONST", "ICONST", "FCONST", "PARAM"})
_CAST = re.compile(
    r"\?::[a-z_][\w.]*(?: varying| precision| with(?:out)? time zone)?(?:\((?:\?(?:,\?)?)\))?"
    r"(?: with(?:out)? time zone)?(?:\[\])?"
)
_LONGEST_CONDITION = 100_000
_NUMBERED = re.compile(r"_\d+\Z")
_MOST_LINES = 200
_UNREADABLE = "(a condition that cannot be read)"


class UnreadablePlanError(ValueError):
    """What should be a plan is none."""


@dataclass(frozen=True)
class Plan:
    """A plan as it is kept. relations: `name` or `schema.name` of what it reads, as the plan tells it."""

    hash: str
    text: str
    relations: tuple[str, ...]


def read_plan(top: Mapping[str, Any], catalogue: Catalogue | None = None) -> Plan:
    """A plan from the top node of EXPLAIN (FORMAT JSON). catalogue: tells what is a partition.

    Raises UnreadablePlanError, whose message holds nothing of the plan.
    """
    try:
        lines = list(_lines(top, 0))
        digest = hashlib.blake2b(repr(_shape(top, _Partitions(catalogue))).encode(), digest_size=8).hexdigest()
        relations = tuple(sorted(set(_relations(top))))
    except (TypeError, AttributeError, KeyError, ValueError, RecursionError):
        raise UnreadablePlanError("it is no plan, or one that is nested too deeply") from None
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"(and {len(lines) - _MOST_LINES} more lines)"]
    return Plan(digest, "\n".join(lines), relations)


def scrubbed_expression(text: str) -> str:
    """A condition with `?` for each literal and parameter."""
    if len(text) > _LONGEST_CONDITION:
        return _UNREADABLE
    try:
        parts, position = [], 0
        for token in parser.scan(text):
            if token.name in _LITERALS:
                parts += [text[position : token.start], "?"]
                position = token.end + 1
        found = "".join([*parts, text[position:]])
    except (pglast.Error, ValueError):
        return _UNREADABLE
    return cut(_CAST.sub("?", found), 500)


# ---------------------------------------------------------------------- what is hashed


class _Partitions:
    """Which relations are parts of another, and what their indexes are on."""

    def __init__(self, catalogue: Catalogue | None) -> None:
        parts = [t for t in catalogue.tables.values() if t.is_partition] if catalogue else []
        self._names = {t.name for t in parts}
        self._indexes = {i.name: i.definition.partition(" USING ")[2] for t in parts for i in t.indexes}

    def relation(self, node: Mapping[str, Any]) -> tuple[str, str]:
        name, alias = str(node.get("Relation Name", "")), str(node.get("Alias", ""))
        if name in self._names:
            return "part", _NUMBERED.sub("", alias)
        return name, alias

    def index(self, node: Mapping[str, Any]) -> str:
        name = str(node.get("Index Name", ""))
        return self._indexes.get(name, name)

    def is_part(self, node: Mapping[str, Any]) -> bool:
        return str(node.get("Relation Name", "")) in self._names


def _shape(node: Mapping[str, Any], partitions: _Partitions) -> tuple[Any, ...]:
    children = [_shape(child, partitions) for child in _children(node)]
    if node["Node Type"] in ("Append", "Merge Append") and any(
        partitions.is_part(scan) for child in _children(node) for scan in _nodes(child)
    ):
        children = sorted(set(children), key=repr)
        if len(children) == 1:  # as if all but one partition had been pruned, which leaves no Append
            *head, _, below = children[0]
            return (*head, _role(node), below)
    relation, alias = partitions.relation(node)
    return (
        _kind(node),
        relation,
        alias if relation else "",
        partitions.index(node),
        str(node.get("CTE Name", "") or node.get("Function Name", "")),
        str(node.get("Scan Direction", "")) == "Backward",
        tuple(key for key in _TELLING if node.get(key)),
        _role(node),
        tuple(children),
    )


def _role(node: Mapping[str, Any]) -> str:
    """What it is to the node above. Numbers of subplans tell nothing, and a partition is whatever its parent is."""
    relation = str(node.get("Parent Relationship", ""))
    return relation if relation in ("Inner", "Outer", "InitPlan", "SubPlan", "Subquery") else ""


def _relations(node: Mapping[str, Any]) -> Iterator[str]:
    for one in _nodes(node):
        if name := one.get("Relation Name"):
            schema = one.get("Schema")
            yield f"{schema}.{name}" if schema else str(name)


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in _children(node):
        yield from _nodes(child)


def _children(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(node.get("Plans") or ())


# ---------------------------------------------------------------------- what is shown


def _kind(node: Mapping[str, Any]) -> str:
    """A node's name as EXPLAIN writes it."""
    name = str(node["Node Type"])
    if name == "Aggregate":
        name = _AGGREGATES.get(str(node.get("Strategy", "")), name)
    elif name == "SetOp":
        name = f"{node.get('Strategy', '')} SetOp {node.get('Command', '')}".strip()
    elif name == "ModifyTable":
        name = str(node.get("Operation", name))
    join = str(node.get("Join Type", "Inner"))
    if name == "Nested Loop":
        name += "" if join == "Inner" else f" {join} Join"
    elif name in ("Hash Join", "Merge Join") and join != "Inner":
        name = f"{name.removesuffix(' Join')} {join} Join"
    if (mode := str(node.get("Partial Mode", "Simple"))) != "Simple":
        name = f"{mode} {name}"
    return f"Parallel {name}" if node.get("Parallel Aware") else name


def _title(node: Mapping[str, Any]) -> str:
    words = [_kind(node)]
    if node.get("Scan Direction") == "Backward":
        words.append("Backward")
    on = node.get("Relation Name") or node.get("CTE Name") or node.get("Function Name")
    index, alias = node.get("Index Name"), node.get("Alias")
    if index:
        words.append(f"using {index}" if on else f"on {index}")
    if on or (alias and not index):
        words.append(f"on {on or alias}")
        if on and alias and alias != on:
            words.append(str(alias))
    return " ".join(words)


def _lines(node: Mapping[str, Any], depth: int, count: int = 1) -> Iterator[str]:
    pad = "  " * depth
    name = f"{node['Subplan Name']}: " if node.get("Subplan Name") else ""
    times = f" ({count} of them)" if count > 1 else ""
    yield f"{pad}{'-> ' if depth else ''}{name}{_title(node)}{times}"
    for key in _CONDITIONS:
        if value := node.get(key):
            told = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{pad}     {key}: {scrubbed_expression(told)}"
    for child, same in _gathered(node):
        yield from _lines(child, depth + 1, same)


def _gathered(node: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], int]]:
    """Children, each with how many there are of it: many partitions are read alike."""
    children = _children(node)
    if node["Node Type"] not in ("Append", "Merge Append"):
        return [(child, 1) for child in children]
    found: dict[str, tuple[Mapping[str, Any], int]] = {}
    for child in children:
        key = _kind(child) + "|".join(_kind(n) for n in _nodes(child))
        first, before = found.get(key, (child, 0))
        found[key] = (first, before + 1)
    return list(found.values())
