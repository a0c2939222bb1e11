"""Is it the concept of last time? By the members that both have in common, one to one, on one sample of rows.

The rows of the new sample are put where the old centroids would have put them; so no membership has to be kept. The
assignment that maximises the sum of Jaccard similarities decides (Kuhn-Munkres), with a floor below which two concepts
are not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from ooda_dagster.core.concept_vectors import Ints

Kind = Literal["born", "split", "merged", "missing", "returned", "gone"]

#: A part of a split, or of a merger, has at least so much of the whole ...
_PART = 0.2
#: ... and consists of it, or goes into it, by at least so much.
_MOST = 0.5


@dataclass(frozen=True)
class Event:
    """What became of a concept. related: of a split its new parts, of a merger those that went into it."""

    kind: Kind
    concept_id: str
    related: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matching:
    """ids: of each new cluster. missing, gone: of old concepts that have none; kept for a while, or ended.

    changed: ids of old concepts that go on as something else: split, merged, or with too few members in common.
    """

    ids: list[str]
    events: list[Event] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    changed: frozenset[str] = frozenset()


def match(
    known: Sequence[tuple[str, int]],
    old: Ints,
    new: Ints,
    clusters: int,
    *,
    floor: float,
    absences: int,
    name: Callable[[int], str],
    same: float = 0.0,
) -> Matching:
    """Give each of the new `clusters` the id of an old concept or, by its position, a new `name`.

    known: id of each old concept, and in how many discoveries in a row it was missing. old, new: (n,) of each row of
    the sample, positions in `known` and of the new cluster, -1 for none. floor: Jaccard similarity below which a
    concept is another one; same: below which it is the same one, changed.
    """
    common = _common(old, new, len(known), clusters)
    of_old = np.bincount(old[old >= 0], minlength=len(known)).astype(float)
    of_new = np.bincount(new[new >= 0], minlength=clusters).astype(float)
    together = of_old[:, None] + of_new[None, :] - common
    alike = np.divide(common, together, out=np.zeros_like(common), where=together > 0)
    rows, columns = linear_sum_assignment(-np.where(alike >= floor, alike, 0))
    heir = {int(i): int(j) for i, j in zip(rows, columns, strict=True) if alike[i, j] >= floor}
    taken = {j: known[i][0] for i, j in heir.items()}
    ids = [taken.get(j) or name(j) for j in range(clusters)]

    events, explained, ended = [], set[int](), set[int]()
    share_of_old = common / np.maximum(of_old, 1)[:, None]
    share_of_new = common / np.maximum(of_new, 1)[None, :]
    for i, (concept_id, _) in enumerate(known):
        parts = np.flatnonzero((share_of_old[i] >= _PART) & (share_of_new[i] >= _MOST))
        if len(parts) > 1:
            fresh = [int(j) for j in parts if j not in taken]
            explained.update(fresh)
            events.append(Event("split", concept_id, tuple(ids[j] for j in fresh)))
            ended.update({i} - heir.keys())
    for j in range(clusters):
        sources = np.flatnonzero((share_of_new[:, j] >= _PART) & (share_of_old[:, j] >= _MOST))
        if len(sources) > 1:
            swallowed = [int(i) for i in sources if i not in heir]
            explained.add(j)
            events.append(Event("merged", ids[j], tuple(known[i][0] for i in swallowed)))
            ended.update(swallowed)

    missing: list[str] = []
    gone = [known[i][0] for i in sorted(ended)]
    for i, (concept_id, absent) in enumerate(known):
        if i in heir:
            if absent:
                events.append(Event("returned", concept_id))
        elif i not in ended and absent + 1 >= absences:
            gone.append(concept_id)
            events.append(Event("gone", concept_id))
        elif i not in ended:
            missing.append(concept_id)
            if not absent:
                events.append(Event("missing", concept_id))
    events += [Event("born", ids[j]) for j in range(clusters) if j not in taken and j not in explained]
    changed = {known[i][0] for i, j in heir.items() if alike[i, j] < same}
    changed |= {e.concept_id for e in events if e.kind in ("split", "merged")}
    return Matching(ids, events, missing, gone, frozenset(changed & set(taken.values())))


def told(event: Mapping[str, Any]) -> str:
    """What became of a concept, in words; of an event's kind, concept_id and related."""
    related = ", ".join(event["related"])
    words = {
        "born": "is new",
        "split": f"was split; new: {related or 'none'}",
        "merged": f"took in {related or 'a part of another'}",
        "missing": "was not found this time",
        "returned": "was found again",
        "gone": "is gone",
    }
    return f"{event['concept_id']} {words[event['kind']]}"


def _common(old: Ints, new: Ints, olds: int, news: int) -> np.ndarray:
    """Rows of the sample that are of an old and of a new one, (olds, news)."""
    both = (old >= 0) & (new >= 0)
    cells = np.bincount(old[both] * news + new[both], minlength=olds * news) if news else np.zeros(0)
    return cells.reshape(olds, news).astype(float)
