"""Are maintenance windows open when the wall clock there says so, over midnight and through every change of clocks?"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ooda_dagster.core.windows import DAYS, Window, next_opening, open_until, parse_window

#: Clocks that change at 1:00 UTC, at 2:00, by half an hour, at midnight, south of the equator, and never.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kolkata",
)
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_open(window: str, now: str) -> bool:
    return open_until([parse_window(window)], utc(now)) is not None


def shown(window: Window, now: datetime) -> bool:
    """Whether the wall clock shows a time of the window: what is meant, minute by minute, without any arithmetic."""
    local = now.astimezone(window.zone)
    minute = local.hour * 60 + local.minute
    today = local.weekday() in window.days and window.opens <= minute < window.closes
    yesterday = (local.weekday() - 1) % 7 in window.days and minute + 24 * 60 < window.closes
    return today or yesterday


def changes(zone: str, year: int = 2026) -> list[datetime]:
    """When the clocks of a zone change in a year."""
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(365 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hours[n] for n in range(1, len(hours)) if offsets[n] != offsets[n - 1]]


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        ("22:00-04:00", "2026-05-04T21:59", False),
        ("22:00-04:00", "2026-05-04T22:00", True),
        ("22:00-04:00", "2026-05-05T03:59", True),
        ("22:00-04:00", "2026-05-05T04:00", False),
        ("Fri 22:00-04:00", "2026-05-08T23:00", True),
        ("Fri 22:00-04:00", "2026-05-09T03:00", True),  # Saturday, but of Friday's window
        ("Fri 22:00-04:00", "2026-05-08T03:00", False),
        ("Sat-Sun 00:00-24:00", "2026-05-10T23:59", True),
        ("Sat-Sun 00:00-24:00", "2026-05-11T00:00", False),
        ("Sat-Mon 10:00-11:00", "2026-05-11T10:30", True),
        ("mon,WED 10:00-11:00", "2026-05-06T10:30", True),
        ("mon,WED 10:00-11:00", "2026-05-05T10:30", False),
        ("Mon-Fri 22:00-04:00 Europe/Berlin", "2026-01-05T20:59", False),
        ("Mon-Fri 22:00-04:00 Europe/Berlin", "2026-01-05T21:00", True),  # winter: UTC+1
        ("Mon-Fri 22:00-04:00 Europe/Berlin", "2026-07-06T20:00", True),  # summer: UTC+2
        ("Mon-Fri 22:00-04:00 Europe/Berlin", "2026-07-07T02:00", False),
        ("Mon 01:00-02:00 Pacific/Auckland", "2026-05-03T13:30", True),  # Sunday in UTC
    ],
)
def test_a_window_is_open_by_its_own_days_and_clock(window: str, now: str, expected: bool) -> None:
    assert is_open(window, now) is expected


@pytest.mark.parametrize(
    ("window", "begin", "until"),
    [
        # Berlin, 2026-03-29: 02:00 is followed by 03:00, at 01:00 UTC.
        ("Sat 22:00-04:00", "2026-03-28T21:00", "2026-03-29T02:00"),  # five hours
        ("Sun 02:30-04:00", "2026-03-29T01:00", "2026-03-29T02:00"),
        ("Sun 01:00-02:30", "2026-03-29T00:00", "2026-03-29T01:00"),
        # 2026-10-25: 03:00 is followed by 02:00, at 01:00 UTC.
        ("Sat 22:00-04:00", "2026-10-24T20:00", "2026-10-25T03:00"),  # seven
        ("Sun 02:30-04:00", "2026-10-25T01:30", "2026-10-25T03:00"),  # from the second 02:30
        ("Sun 01:00-02:30", "2026-10-24T23:00", "2026-10-25T00:30"),  # to the first
        ("Sun 02:10-02:50", "2026-10-25T00:10", "2026-10-25T00:50"),  # the first pass
        ("Sun 01:00-03:00", "2026-10-24T23:00", "2026-10-25T02:00"),  # both passes
    ],
)
def test_a_change_of_clocks_moves_a_window_as_the_wall_clock_does(window: str, begin: str, until: str) -> None:
    parsed = parse_window(f"{window} Europe/Berlin")
    opening = next_opening([parsed], utc(begin) - MINUTE)
    assert opening is not None
    assert opening == utc(begin)
    assert open_until([parsed], opening) == utc(until)
    assert open_until([parsed], utc(until)) is None


def test_a_window_that_lies_in_the_skipped_hour_does_not_open_that_day() -> None:
    window = parse_window("02:10-02:50 Europe/Berlin")
    assert next_opening([window], utc("2026-03-28T12:00")) == utc("2026-03-30T00:10")


def test_a_whole_day_begins_with_the_change_where_its_midnight_is_skipped() -> None:
    window = parse_window("Sun 00:00-24:00 America/Santiago")  # 2026-09-06 begins at 01:00
    assert next_opening([window], utc("2026-09-05T12:00")) == utc("2026-09-06T04:00")
    assert open_until([window], utc("2026-09-06T04:00")) == utc("2026-09-07T03:00")


@pytest.mark.parametrize("zone", ZONES)
def test_through_any_change_of_clocks_a_window_is_open_only_while_the_wall_clock_shows_it(zone: str) -> None:
    """For days around every change: never open where the wall clock says closed, and no night lost."""
    random_windows = random.Random(f"windows of {zone}")
    for change in changes(zone) or [utc("2026-03-29T01:00")]:
        for _ in range(3):
            opens, length = random_windows.randrange(0, 24 * 60), random_windows.randrange(1, 20 * 60)
            closes = (opens + length) % (24 * 60)
            days = ",".join(random_windows.sample(DAYS, random_windows.randrange(1, 8)))
            text = f"{days} {opens // 60:02}:{opens % 60:02}-{closes // 60:02}:{closes % 60:02} {zone}"
            window = parse_window(text)
            start = change - timedelta(hours=30)
            for step in range(0, 60 * 60, 11):
                now = start + step * MINUTE
                end = open_until([window], now)
                if end is None:
                    opening = next_opening([window], now)
                    assert opening is not None, text
                    assert opening > now
                    # Closed though the clock shows it: only within the repeated hour, of which one pass is enough.
                    assert not shown(window, now) or abs(now - change) <= timedelta(hours=1, minutes=1), (text, now)
                else:
                    assert shown(window, now), (text, now)
                    assert end > now
                    assert open_until([window], end - MINUTE) == end, (text, now)


@pytest.mark.parametrize("zone", ZONES)
def test_every_opening_is_the_first_open_minute(zone: str) -> None:
    window = parse_window(f"22:15-04:45 {zone}")
    now, found = datetime(2026, 1, 1, tzinfo=UTC), 0
    while now.year == 2026:
        opening = next_opening([window], now)
        assert opening is not None
        assert open_until([window], opening) is not None
        assert open_until([window], opening - MINUTE) is None
        now, found = opening, found + 1
    assert found in (365, 366)


def test_windows_that_meet_or_overlap_are_one() -> None:
    windows = [parse_window(w) for w in ("20:00-22:00", "22:00-23:30", "23:00-24:00", "00:30-01:00")]
    assert open_until(windows, utc("2026-05-04T20:30")) == utc("2026-05-05T00:00")
    assert next_opening(windows, utc("2026-05-05T00:00")) == utc("2026-05-05T00:30")


def test_a_window_without_an_end_is_open_for_the_week_that_is_looked_ahead() -> None:
    end = open_until([parse_window("00:00-24:00")], utc("2026-05-04T12:00"))
    assert end is not None
    assert end >= utc("2026-05-11T00:00")


def test_no_window_is_never_open() -> None:
    assert open_until([], utc("2026-05-04T12:00")) is None
    assert next_opening([], utc("2026-05-04T12:00")) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "has the form"),
        ("nights", "has the form"),
        ("22-04", "has the form"),
        ("22:00-04:00 Europe/Berlin daily", "has the form"),
        ("Mon-Fri", "has the form"),
        ("25:00-04:00", "25:00 is no time"),
        ("22:60-04:00", "22:60 is no time"),
        ("24:01-04:00", "24:01 is no time"),
        ("24:00-04:00", "cannot open at 24:00"),
        ("04:00-04:00", "the whole day is 00:00-24:00"),
        ("Montag 22:00-04:00", "'Montag' is no day; they are Mon"),
        ("Mon- 22:00-04:00", "'' is no day"),
        ("22:00-04:00 Europe/Bern", "'Europe/Bern' is no time zone"),
        ("22:00-04:00 ../etc/passwd", "is no time zone"),
        ("22:00-04:00 Europe", "is no time zone"),
    ],
)
def test_what_is_no_window_is_refused_with_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word.replace("(", r"\(")):
        parse_window(text)
