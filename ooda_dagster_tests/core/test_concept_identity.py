"""Does a concept keep its name while it is the same, and is it told what became of the others?"""

from __future__ import annotations

import numpy as np
import pytest

from ooda_dagster.core.concept_identity import Event, Matching, match
from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.concept_vectors import Floats, unit
from ooda_dagster.core.concepts import Clustering, assign, find_clusters, shape_of
from ooda_dagster_tests.core.planted_concepts import directions, plant

POLICY = Concepts()


def matched(
    old: list[int], new: list[int], *, absent: dict[int, int] | None = None, absences: int = 2, same: float = 0.0
) -> Matching:
    """Old concepts o0, o1 ... and new clusters, by the rows of a sample."""
    known = [(f"o{i}", (absent or {}).get(i, 0)) for i in range(max(old, default=-1) + 1)]
    return match(
        known, np.array(old, dtype=np.int64), np.array(new, dtype=np.int64), max(new, default=-1) + 1,
        floor=0.3, absences=absences, name=lambda n: f"n{n}", same=same,
    )  # fmt: skip


def test_the_same_members_keep_their_name_in_any_order() -> None:
    found = matched([0] * 10 + [1] * 10, [1] * 10 + [0] * 10)
    assert (found.ids, found.events, found.missing, found.gone) == (["o1", "o0"], [], [], [])


def test_one_with_few_members_in_common_goes_on_under_its_name_as_something_else() -> None:
    old, new = [0] * 10 + [1] * 10, [0] * 10 + [1] * 6 + [-1] * 4
    assert matched(old, new, same=0.7).changed == {"o1"}
    assert matched(old, new, same=0.6).changed == frozenset()


def test_what_was_split_or_took_in_another_is_something_else_whatever_it_kept() -> None:
    split = matched([0] * 20, [0] * 8 + [1] * 12)
    merged = matched([0] * 12 + [1] * 8, [0] * 20)
    assert (split.ids, split.changed) == (["n0", "o0"], {"o0"})
    assert (merged.ids, merged.changed) == (["o0"], {"o0"})
    assert matched([-1] * 9, [0] * 9).changed == frozenset()


def test_a_cluster_of_rows_that_were_in_none_is_born() -> None:
    found = matched([0] * 10 + [-1] * 10, [0] * 10 + [1] * 10)
    assert (found.ids, found.events) == (["o0", "n1"], [Event("born", "n1")])


def test_of_a_split_the_larger_part_keeps_the_name() -> None:
    found = matched([0] * 20, [0] * 8 + [1] * 12)
    assert found.ids == ["n0", "o0"]
    assert found.events == [Event("split", "o0", ("n0",))]
    assert found.gone == []


def test_of_a_split_into_small_parts_none_keeps_the_name() -> None:
    found = matched([0] * 20, [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5)
    assert found.ids == ["n0", "n1", "n2", "n3"]
    assert found.events == [Event("split", "o0", ("n0", "n1", "n2", "n3"))]
    assert found.gone == ["o0"]


def test_of_a_merger_the_larger_one_keeps_its_name() -> None:
    found = matched([0] * 12 + [1] * 8, [0] * 20)
    assert found.ids == ["o0"]
    assert found.events == [Event("merged", "o0", ("o1",))]
    assert found.gone == ["o1"]


def test_what_is_not_found_is_missing_first_and_gone_later() -> None:
    first = matched([0] * 10 + [1] * 10, [0] * 10 + [-1] * 10)
    assert (first.missing, first.gone, first.events) == (["o1"], [], [Event("missing", "o1")])
    second = matched([0] * 10 + [1] * 10, [0] * 10 + [-1] * 10, absent={1: 1})
    assert (second.missing, second.gone, second.events) == ([], ["o1"], [Event("gone", "o1")])


def test_what_was_missing_returns_under_its_name() -> None:
    found = matched([0] * 10 + [1] * 10, [0] * 10 + [1] * 10, absent={1: 1})
    assert (found.ids, found.events) == (["o0", "o1"], [Event("returned", "o1")])


@pytest.mark.parametrize("old", [[], [-1] * 5, [0] * 5])
@pytest.mark.parametrize("new", [[], [-1] * 5, [0] * 5])
def test_nothing_against_anything_is_no_error(old: list[int], new: list[int]) -> None:
    if len(old) != len(new):
        old = [-1] * len(new)
    found = matched(old, new)
    assert len(found.ids) == max(new, default=-1) + 1


# ------------------------------------------------------------------ on clusters of real samples


def again(before: Clustering, vectors: Floats, *, seed: int) -> tuple[Clustering, Matching]:
    """The next discovery, on another sample."""
    found = find_clusters(vectors, POLICY, seed=seed)
    old = assign(vectors, *shape_of(before.clusters, vectors.shape[1]))
    known = [(f"o{i}", 0) for i in range(len(before.clusters))]
    return found, match(
        known, old, found.labels, len(found.clusters),
        floor=POLICY.same_share, absences=2, name=lambda n: f"n{n}",
    )  # fmt: skip


CENTRES = directions(8, 64, seed=1)


def test_names_outlast_other_samples_and_other_seeds() -> None:
    before = find_clusters(plant(CENTRES, 1000, noise=0.1, seed=2).vectors, POLICY, seed=1)
    for seed in range(10, 13):
        _, found = again(before, plant(CENTRES, 1000, noise=0.1, seed=seed).vectors, seed=seed)
        assert (sorted(found.ids), found.events) == ([f"o{i}" for i in range(8)], [])


def test_names_outlast_a_drift_and_follow_it() -> None:
    """Each step turns every direction by about 8 degrees, six steps in all."""
    chance, centres = np.random.default_rng(3), CENTRES
    state = find_clusters(plant(centres, 2000, seed=2).vectors, POLICY, seed=1)
    names = [f"o{i}" for i in range(8)]
    for step in range(6):
        turn = 0.14 * chance.normal(0, 1 / 8, centres.shape)
        centres = unit((centres + turn).astype(np.float32))[0]
        state, found = again(state, plant(centres, 1000, seed=20 + step).vectors, seed=step)
        assert (sorted(found.ids), found.events) == (names, []), step


def test_new_data_is_born_and_the_others_keep_their_names() -> None:
    before = find_clusters(plant(CENTRES[:6], 2000, seed=2).vectors, POLICY, seed=1)
    _, found = again(before, plant(CENTRES, 2000, seed=3).vectors, seed=2)
    assert sorted(i for i in found.ids if i.startswith("o")) == [f"o{i}" for i in range(6)]
    assert [e.kind for e in found.events] == ["born", "born"]


def _along(ends: Floats, rows: int, *, gap: bool, seed: int) -> Floats:
    """Rows along the arc between two directions; with a gap, in its outer thirds only."""
    chance = np.random.default_rng(seed)
    t = chance.random(rows)
    t = np.where(t < 0.5, 0.6 * t, 1 - 0.6 * (1 - t)) if gap else t
    own = 0.15 * chance.normal(0, 1 / 8, (rows, 64))
    return unit((t[:, None] * ends[0] + (1 - t)[:, None] * ends[1] + own).astype(np.float32))[0]


def test_a_cluster_that_falls_apart_is_a_split_and_back_a_merger() -> None:
    ends = unit(np.array([CENTRES[0] + 0.5 * CENTRES[1], CENTRES[0] - 0.5 * CENTRES[1]], dtype=np.float32))[0]
    others = plant(CENTRES[2:4], 800, seed=3).vectors
    whole = find_clusters(np.vstack([_along(ends, 600, gap=False, seed=1), others]), POLICY, seed=1)
    assert len(whole.clusters) == 3
    apart, split = again(whole, np.vstack([_along(ends, 600, gap=True, seed=2), others]), seed=2)
    assert len(apart.clusters) == 4
    assert [e.kind for e in split.events] == ["split"]
    _, merged = again(apart, np.vstack([_along(ends, 600, gap=False, seed=4), others]), seed=4)
    assert [e.kind for e in merged.events] == ["merged"]
    assert len(merged.gone) >= 1
    assert merged.missing == []
