"""Does the report tell what mends a planted problem, whatever kinds of change the loop made?"""

from __future__ import annotations

from typing import Any

import pytest

from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.demo.planted import plan
from ooda_dagster.demo.report import serves

_MISSING = plan(1).missing[0]
_NAMES = list(_MISSING.columns)


@pytest.mark.parametrize(
    ("kind", "spec", "wanted"),
    [
        (HypothesisType.INDEX, {"columns": [{"name": name} for name in _NAMES]}, True),
        (HypothesisType.INDEX, {"columns": [{"name": None}]}, False),
        (HypothesisType.ANALYZE, {}, False),
        (HypothesisType.EXTENDED_STATISTICS, {"columns": _NAMES}, False),
        (HypothesisType.STATISTICS_TARGET, {"column": _NAMES[0]}, False),
    ],
)
def test_only_an_index_on_the_right_keys_mends(kind: HypothesisType, spec: dict[str, Any], wanted: bool) -> None:
    assert serves(_MISSING, kind, {"table": _MISSING.table, **spec}) is wanted
