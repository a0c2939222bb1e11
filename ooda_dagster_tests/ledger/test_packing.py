"""Does a chunk give back what was packed, as exactly as it promises, and refuse what it cannot read?"""

from __future__ import annotations

import numpy as np
import pytest

from ooda_dagster.ledger.chunks import ERRORS, Chunk, combined, split
from ooda_dagster.ledger.packing import COUNTERS, SCALED, WHOLE, Cells, pack, unpack


def cells(seed: int, *, statements: int = 40, buckets: int = 12, scale: float = 1.0) -> Cells:
    """Some cells in no order; counters from nothing to huge, squares at least those of equal calls."""
    chance = np.random.default_rng(seed)
    row, bucket = np.nonzero(chance.random((statements, buckets)) < 0.6)
    order = chance.permutation(len(row))
    n = chance.zipf(1.5, len(row)).clip(max=10**9)
    ms = n * chance.lognormal(0, 3, len(row)) * scale
    values: dict[str, np.ndarray] = {
        "n": n,
        "sum_ms": ms,
        "sum_ms_sq": ms**2 / n * (1 + chance.exponential(2, len(row))),
    }
    for name in WHOLE - {"n"}:
        values[name] = np.where(chance.random(len(row)) < 0.5, 0, chance.zipf(1.3, len(row)).clip(max=2**50))
    ids = np.sort(chance.choice(10**6, statements, replace=False))
    return Cells(ids, row[order], bucket[order], {name: values[name][order] for name in COUNTERS})


def ordered(given: Cells) -> Cells:
    order = np.lexsort((given.bucket, given.row))
    return Cells(given.ids, given.row[order], given.bucket[order], {n: v[order] for n, v in given.values.items()})


@pytest.mark.parametrize("grain", ERRORS)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
def test_every_counter_is_as_exact_as_its_grain_says(grain: str, scale: float) -> None:
    given = ordered(cells(3, scale=scale))
    found = unpack(pack(given, 12, ERRORS[grain]))
    for name in ("ids", "row", "bucket"):
        assert (getattr(found, name) == getattr(given, name)).all()
    assert (found.values["n"] == given.values["n"]).all()
    for name in SCALED:
        off = np.abs(found.values[name] - given.values[name])
        rounding = 0.5 if name in WHOLE else 0.0
        assert (off <= (ERRORS[grain][name] + 1e-12) * given.values[name] + rounding).all(), name
        assert ((found.values[name] == 0) == (given.values[name] == 0)).all()
    assert all(found.values[name].dtype == "int64" for name in WHOLE)


@pytest.mark.parametrize("grain", ERRORS)
def test_packing_again_changes_nothing(grain: str) -> None:
    """Chunks are joined and split for as long as they live."""
    data = pack(cells(4), 12, ERRORS[grain])
    for _ in range(3):
        again = pack(unpack(data), 12, ERRORS[grain])
        assert again == data


def test_a_part_of_a_chunk_is_the_same_part_of_all_of_it() -> None:
    data = pack(cells(5), 12, ERRORS["block"])
    whole = unpack(data)
    only = whole.ids[[3, 7, 11]]
    part = unpack(data, ("sum_ms_sq", "rows"), only)
    kept = np.isin(whole.ids[whole.row], only)
    assert list(part.values) == ["sum_ms_sq", "rows"]
    assert (part.ids[part.row] == whole.ids[whole.row][kept]).all()
    for name in part.values:
        assert (part.values[name] == whole.values[name][kept]).all()


def test_variances_are_not_negative_whatever_is_rounded() -> None:
    """Where all calls took the same time, squares are the mean's."""
    given = cells(6)
    n, ms = given.values["n"], given.values["sum_ms"]
    same = Cells(given.ids, given.row, given.bucket, {**given.values, "sum_ms_sq": ms**2 / n})
    found = unpack(pack(same, 12, ERRORS["hour"])).values
    assert (found["n"] * found["sum_ms_sq"] / found["sum_ms"] ** 2 - 1 > -1e-9).all()


def test_of_nothing_nothing_comes_back() -> None:
    nothing = np.zeros(0, "int64")
    found = unpack(pack(Cells(nothing, nothing, nothing, dict.fromkeys(COUNTERS, nothing)), 3, ERRORS["minute"]))
    assert [len(found.ids), len(found.row), *(len(v) for v in found.values.values())] == [0] * 10


def test_a_chunk_of_another_version_or_a_damaged_one_is_refused_by_name() -> None:
    data = pack(cells(7), 12, ERRORS["hour"])
    with pytest.raises(ValueError, match="version 9; this ooda-dagster reads 1: upgrade it"):
        unpack(b"\x09" + data[1:])
    with pytest.raises(ValueError, match="damaged: it should have"):
        unpack(data[:9] + b"\x01\x00\x00\x00" + data[13:])


def test_buckets_are_summed_in_stretches_and_parted_without_loss() -> None:
    given = cells(8)
    minute = 60_000_000
    chunk = Chunk(np.arange(12) * minute, np.full(12, 59.5), given)
    early, late = split(chunk, 7 * minute)
    assert early is not None
    assert late is not None
    for parts in ([chunk], [late, early]):
        hour = combined(parts, np.timedelta64(1, "h").astype("m8[us]").astype(object))
        assert (hour.starts.tolist(), hour.spans_s.tolist()) == ([0], [12 * 59.5])
        for name in COUNTERS:
            wanted = np.bincount(given.row, given.values[name], minlength=40)
            found = np.bincount(np.searchsorted(given.ids, hour.cells.ids[hour.cells.row]), hour.cells.values[name], 40)
            assert found == pytest.approx(wanted, rel=1e-12)
    assert split(chunk, 0) == (None, chunk)
