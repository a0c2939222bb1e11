"""Is a change of policy told by key, before and after, and what may be a secret cut?"""

from __future__ import annotations

from typing import Any

import pytest

from ooda_dagster.core.settings import Mode, with_profile
from ooda_dagster.core.settings_changes import changes, told, usual

MARKER = "m4rker-secret"


def change(over: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is told of a production target that gets settings of its own."""
    settings = with_profile("production", over)
    return changes(usual(settings), told(settings))


def test_a_change_is_told_with_its_key_before_and_after() -> None:
    over = {"acting": {"max_actions_per_day": 5, "protected": ["pay.*"]}, "history": {"start_day": "2026-01-02"}}
    assert change(over) == {
        "acting.max_actions_per_day": {"before": 20, "after": 5},
        "acting.protected": {"before": [], "after": ["pay.*"]},
        "history.start_day": {"before": None, "after": "2026-01-02"},
    }


@pytest.mark.parametrize("profile", ["production", "short"])
def test_a_profile_s_own_settings_are_no_change(profile: str) -> None:
    settings = with_profile(profile)
    assert changes(usual(settings), told(settings)) == {}


def test_the_mode_is_told_elsewhere() -> None:
    assert change({"mode": Mode.AUTO}) == {}


def test_a_setting_that_one_side_does_not_know_is_none_there() -> None:
    assert changes({"a": 1}, {"b": 2}) == {"a": {"before": 1, "after": None}, "b": {"before": None, "after": 2}}


@pytest.mark.parametrize(
    ("group", "key", "value", "shown"),
    [
        ("requests", "status", f"coalesce(state, '{MARKER}')", "coalesce(state, '?') #"),
        ("requests", "status", f"nullif(state, $q${MARKER}$q$)", "nullif(state, '?') #"),
        ("requests", "model", f"model_id /* {MARKER} */", "model_id #"),
        ("requests", "model", f"model_id -- {MARKER}", "model_id #"),
        ("requests", "duration_ms", "1000 * duration_s", "? * duration_s #"),
        ("requests", "ok", [f"it's {MARKER}"], "(a text that cannot be read) #"),
        ("requests", "status", f"state || '{MARKER}", "(a text that cannot be read) #"),
        ("history", "parquet", f"s3://key:{MARKER}@lake/*.parquet", "s3://…@lake/*.parquet #"),
        ("history", "parquet", f"https://lake/x.parquet?token={MARKER}", "https://lake/x.parquet?… #"),
    ],
)
def test_a_literal_is_cut_and_another_one_shows_as_a_change(group: str, key: str, value: Any, shown: str) -> None:
    after = change({group: {key: value}})[f"{group}.{key}"]["after"]
    (text,) = after if isinstance(after, list) else [after]
    assert text.startswith(shown)
    assert len(text) == len(shown) + 4
    assert MARKER not in str(after)
    other = [v.replace(MARKER, "x") for v in value] if isinstance(value, list) else f"{value} ".replace("1000", "100")
    other = [f"{other[0]}y"] if isinstance(other, list) else other.replace(MARKER, "another")
    assert change({group: {key: other}})[f"{group}.{key}"]["after"] != after


def test_words_and_expressions_without_literals_are_told_as_they_are() -> None:
    over = {"requests": {"table": "app.calls", "model": "lower(model_id)", "ok": ["done", "all right"]}}
    assert {key: c["after"] for key, c in change(over).items()} == {
        "requests.table": "app.calls",
        "requests.model": "lower(model_id)",
        "requests.ok": ["done", "all right"],
    }
