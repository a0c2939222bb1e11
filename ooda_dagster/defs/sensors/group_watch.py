"""Did a model and operation become slower as a whole since the last cycle began?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ooda_dagster.core.seen import GroupChange
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.group_changes import find_group_changes


@dataclass
class GroupWatch:
    """Looks once a block of the rollups (`detect.group_block_min`), and remembers in this process what it saw."""

    _seen: dict[str, tuple[int, list[GroupChange]]] = field(default_factory=dict)

    def slower(self, loop: Loop, now: datetime, began: datetime | None) -> str | None:
        """The surest change that lasts, is as large as `requests.alarm_group_ratio`, and was found after `began`."""
        block = int(now.timestamp() // (60 * loop.settings.detect.group_block_min))
        if self._seen.get(loop.name, (None,))[0] != block:
            self._seen[loop.name] = (block, find_group_changes(loop, now=now))
        least = loop.settings.requests.alarm_group_ratio
        for change in self._seen[loop.name][1]:
            new = began is None or change.found_at > began
            if change.state == "open" and change.ratio >= least and change.ratio_low > 1 and new:
                return change.text
        return None
