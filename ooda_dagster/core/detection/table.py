"""What is told of each request that was judged, and of how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ooda_dagster.core.detection.features import FEATURES
from ooda_dagster.core.detection.model import Scored
from ooda_dagster.core.detection.rows import Bools, Floats

#: Columns, and what is in them where a row was not judged.
_BLANK: dict[str, Any] = {
    "isolation_score": np.nan,
    "lof": np.nan,
    "robust_z": np.nan,
    "p_value": np.nan,
    "usual_ms": np.nan,
    "times_usual": np.nan,
    "feature": "",
    "method": "none",
    "flagged": False,
    "scored": False,
}
COLUMNS = list(_BLANK)
METHODS = ("isolation_forest", "lof", "robust_z")


@dataclass(frozen=True)
class Evidence:
    """How it was calibrated. learned, held_out: rows; trimmed: the share of the held-out rows that was left out of
    the p-values; excess: the share that is odder than the densities lead to expect; gated, scored: rows with the dearer
    scores; threshold: the greatest p-value flagged, -1 where none; digest: SHA-256 of what was learned."""

    learned: int = 0
    held_out: int = 0
    trimmed: float = 0.0
    excess: float = 0.0
    gated: int = 0
    scored: int = 0
    threshold: float = -1.0
    seed: int = 0
    digest: str = ""
    unusable: int = 0
    not_judged: int = 0
    further: tuple[Evidence, ...] = field(default=())


def table(
    n: int,
    parts: Sequence[Scored],
    isolation: Floats,
    factor: Floats,
    p: Floats,
    by: Bools,
    flagged: Bools,
    scored: Bools,
) -> pd.DataFrame:
    """The columns of n rows, of which those in the parts were judged. by: judged rows x METHODS."""
    number, feature, log_ratio, usual_ms = (
        np.concatenate(columns)
        for columns in zip(*((q.rows.number, q.feature, q.log_ratio, q.usual_ms) for q in parts), strict=True)
    )
    method = np.where(flagged, np.where(by.sum(axis=1) > 1, len(METHODS), by.argmax(axis=1)), len(METHODS) + 1)
    found = {
        "isolation_score": isolation,
        "lof": factor,
        "robust_z": np.concatenate([q.z[np.arange(len(q)), q.feature] for q in parts]),
        "p_value": p,
        "usual_ms": usual_ms,
        "times_usual": np.exp(np.clip(log_ratio, -60, 60)),
        "feature": np.array(FEATURES, dtype=object)[feature],
        "method": np.array([*METHODS, "several", "none"], dtype=object)[method],
        "flagged": flagged,
        "scored": scored,
    }
    columns = {}
    for name, blank in _BLANK.items():
        columns[name] = np.full(n, blank, dtype=found[name].dtype)
        columns[name][number] = found[name]
    return pd.DataFrame(columns, columns=pd.Index(COLUMNS))


def empty(n: int) -> pd.DataFrame:
    columns = {
        name: np.full(n, blank, dtype=object if isinstance(blank, str) else None) for name, blank in _BLANK.items()
    }
    return pd.DataFrame(columns, columns=pd.Index(COLUMNS))
