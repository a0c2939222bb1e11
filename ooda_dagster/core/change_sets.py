"""Which changes are judged together, and which must wait for another's verdict?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class OpenChange:
    """An action that is being judged: what it touches must be left alone."""

    action_id: str
    change_set_id: str
    touches: frozenset[str]
    relation: str
    action_type: str = ""


def waits_for(touches: Collection[str], relation: str, open_changes: Collection[OpenChange]) -> OpenChange | None:
    """An open change on the same relation or the same statements."""
    wanted = set(touches)
    return next((c for c in open_changes if c.relation == relation or wanted & c.touches), None)


def change_sets(items: Collection[tuple[str, frozenset[str]]]) -> list[list[int]]:
    """Group items (relation, touched statements) that share a relation or a statement; positions, in order."""
    groups: list[tuple[set[str], set[str], list[int]]] = []
    for position, (relation, touches) in enumerate(items):
        joined = [g for g in groups if relation in g[0] or g[1] & touches]
        merged = ({relation}, set(touches), [position])
        for group in joined:
            groups.remove(group)
            merged = (merged[0] | group[0], merged[1] | group[1], sorted(group[2] + merged[2]))
        groups.append(merged)
    return [g[2] for g in sorted(groups, key=lambda g: g[2][0])]
