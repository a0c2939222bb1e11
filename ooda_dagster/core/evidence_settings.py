"""What is exported of an action when its verdict closes, and for how long it is kept."""

from __future__ import annotations

from ooda_dagster.core.setting_types import Group, Positive


class EvidenceFiles(Group):
    """Evidence files; see docs/evidence.md."""

    export: bool = True  # by itself, when a verdict closes
    directory: str = ""  # none: `evidence` in $OODA_HOME, where a relative one begins too
    max_mb: Positive = 32  # of one file that is written by itself
    keep_d: Positive = 400  # files, and what verdicts were computed from
