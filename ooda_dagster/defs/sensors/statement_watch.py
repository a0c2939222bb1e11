"""Did a statement become slower, or a heavy one appear, that no cycle knows of?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zlib import crc32

from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.slower_statements import worth_a_cycle


@dataclass
class StatementWatch:
    """Looks once a look of core/regressions.py (`regressions.look_s`), each target at a moment of its own.

    What it told is not told again by this process within the lookback, should a cycle see it otherwise.
    """

    _looked: dict[str, int] = field(default_factory=dict)
    _told: dict[str, dict[str, datetime]] = field(default_factory=dict)
    _why: dict[str, tuple[datetime | None, str]] = field(default_factory=dict)

    def worth_a_cycle(self, loop: Loop, now: datetime, began: datetime | None) -> str | None:
        """Why a cycle is called for; told until one began."""
        policy = loop.settings.regressions
        if not (policy.enabled and policy.alarm) or self._soon(loop, now, policy.look_s):
            return None
        open_since, why = self._why.get(loop.name, (None, ""))
        if why and open_since == began:
            return why
        self._why.pop(loop.name, None)
        number = int((now.timestamp() + crc32(loop.name.encode())) // policy.look_s)
        if self._looked.get(loop.name) == number:
            return None
        self._looked[loop.name] = number
        past = now - timedelta(hours=policy.lookback_h)
        told = {f: at for f, at in self._told.get(loop.name, {}).items() if at > past}
        new = {f: words for f, words in worth_a_cycle(loop, now, began) if f not in told}
        self._told[loop.name] = told | dict.fromkeys(new, now)
        if not new:
            return None
        self._why[loop.name] = (began, next(iter(new.values())))
        return self._why[loop.name][1]

    @staticmethod
    def _soon(loop: Loop, now: datetime, look_s: int) -> bool:
        """Whether a cycle comes anyhow, before another look would."""
        due = loop.ledger.cycles.queue([loop.name])
        return bool(due) and due[0].deliver_at <= now + timedelta(seconds=look_s)
