"""What was carried into a clone, and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class CloneReport:
    """`blind`: object → why it, or its statistics, is not in the clone. No value of a row is in here."""

    source_version: int = 0
    clone_version: int = 0
    build_s: float = 0.0
    blind: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
