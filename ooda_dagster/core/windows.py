"""Maintenance windows: is one open, until when, and when does the next one open?

`Mon-Fri 22:00-04:00 Europe/Berlin`: days on which it opens (all where none are named), local times, and a time zone
of the IANA database (UTC where none is named). A window that closes at or before the time at which it opens ends on
the next day.

A window is open only while the clock on the wall there shows a time of it. Where the clock is put back, a time is
read twice: a window closes when its end is read first, and opens when its begin is read last - but a window that lies
in the repeated hour as a whole is its first pass. Where the clock is put forward, times are skipped: a window that
would begin or end in the skipped hour begins or ends with the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES = 24 * 60
_FORM = "a window has the form 'Mon-Fri 22:00-04:00 Europe/Berlin'; days and time zone may be left out"
_WINDOW = re.compile(
    r"(?:(?P<days>[A-Za-z,-]+)\s+)?(?P<opens>\d\d:\d\d)\s*-\s*(?P<closes>\d\d:\d\d)(?:\s+(?P<zone>\S+))?"
)


@dataclass(frozen=True)
class Window:
    """One window. days: 0 is Monday; opens and closes: minutes since local midnight, closes > opens."""

    text: str
    days: frozenset[int]
    opens: int
    closes: int
    zone: ZoneInfo

    def on(self, day: date) -> tuple[datetime, datetime] | None:
        """[from, until) in UTC of the window that opens on a local day; None where there is none."""
        if day.weekday() not in self.days:
            return None
        opening, closing = _readings(day, self.opens, self.zone), _readings(day, self.closes, self.zone)
        until = closing[0]
        begins = [moment for moment in opening if moment < until]
        return (max(begins), until) if begins else None

    def around(self, now: datetime, ahead: timedelta) -> Iterator[tuple[datetime, datetime]]:
        """Its spans that end after `now` and begin within `ahead` of it, in order."""
        day = (now.astimezone(self.zone) - timedelta(days=2)).date()
        end = (now + ahead).astimezone(self.zone).date()
        while day <= end:
            span = self.on(day)
            if span is not None and span[1] > now:
                yield span
            day += timedelta(days=1)


@lru_cache(maxsize=1000)
def parse_window(text: str) -> Window:
    """Raises ValueError, which says what a window looks like."""
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r}: {_FORM}")
    opens, closes = _minutes(found["opens"], text), _minutes(found["closes"], text)
    if opens == _DAY_MINUTES:
        raise ValueError(f"{text!r}: a window cannot open at 24:00; write 00:00 and the next day")
    if opens == closes:
        raise ValueError(f"{text!r}: a window cannot open and close at the same time; the whole day is 00:00-24:00")
    return Window(
        text=text.strip(),
        days=_days(found["days"], text),
        opens=opens,
        closes=closes if closes > opens else closes + _DAY_MINUTES,
        zone=_zone(found["zone"] or "UTC", text),
    )


def open_until(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When the window that is open now closes, with those that follow it without a gap; None where none is open.

    Looks a week ahead: what is open for longer than that is open for a week.
    """
    spans = sorted(span for window in windows for span in window.around(now, timedelta(days=7)))
    end = None
    for begin, until in spans:
        if begin <= (end or now):
            end = max(until, end or until)
    return end


def next_opening(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When the next window opens; None where none does within a fortnight. Begins that are over do not count."""
    begins = (begin for window in windows for begin, _ in window.around(now, timedelta(days=14)) if begin > now)
    return min(begins, default=None)


def _minutes(text: str, window: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes > 59 or hours * 60 + minutes > _DAY_MINUTES:
        raise ValueError(f"{window!r}: {text} is no time of a day, 00:00 to 24:00")
    return hours * 60 + minutes


def _days(text: str | None, window: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers = [_day(name, window) for name in ((first, last) if "-" in part else (first,))]
        span = (numbers[-1] - numbers[0]) % 7
        found |= {(numbers[0] + n) % 7 for n in range(span + 1)}
    return frozenset(found)


def _day(name: str, window: str) -> int:
    try:
        return DAYS.index(name.capitalize())
    except ValueError:
        raise ValueError(f"{window!r}: {name!r} is no day; they are {', '.join(DAYS)}") from None


def _zone(name: str, window: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory of the database
        raise ValueError(f"{window!r}: {name!r} is no time zone, such as Europe/Berlin or UTC") from None


def _readings(day: date, minutes: int, zone: ZoneInfo) -> tuple[datetime, ...]:
    """Moments in UTC at which the wall clock shows a time, in order: two where it is put back.

    Where the time is skipped, the moment of the change.
    """
    local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minutes)
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return (first,)
    if first < second:
        return first, second
    return (_change(second, first, zone),)


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first second after `before` at which the zone's offset is that of `after`."""
    offset = after.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        changed = datetime.fromtimestamp(middle, zone).utcoffset() == offset
        low, high = (low, middle) if changed else (middle, high)
    return datetime.fromtimestamp(high, UTC)
