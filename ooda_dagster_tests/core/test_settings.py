"""Are settings read as meant, and refused where they cannot be meant?"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel, ValidationError

from ooda_dagster.core.settings import PROFILE_REMARK, PROFILES, Mode, Settings, merge, parse_budget, with_profile

MB = 1 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("25%", 250),
        (" 25 % ", 250),
        ("0.5%", 5),
        ("150%", 1500),
        ("0%", 0),
        ("0", 0),
        ("7", 7),
        ("7B", 7),
        ("2kB", 2048),
        ("200MB", 200 * MB),
        ("200 mb", 200 * MB),
        ("1.5GB", 1536 * MB),
        ("1TB", MB * MB),
    ],
)
def test_a_budget_is_a_share_or_a_size(text: str, expected: int) -> None:
    assert parse_budget(text, 1000) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%",
        "MB",
        "-1MB",
        "-1%",
        "nan",
        "nan%",
        "inf",
        "inf%",
        "infMB",
        "1e400MB",
        "25%%",
        "25%MB",
        "25 MiB",
        "K",
        "ten",
    ],
)
def test_a_budget_that_is_neither_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a share \(25%\) nor a size \(200MB, 2GB\)"):
        parse_budget(text, 1000)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_valid_and_says_what_its_verdicts_are_worth(name: str) -> None:
    settings = with_profile(name)
    assert (settings.profile, settings.mode) == (name, Mode.PROPOSE)
    assert name in PROFILE_REMARK


def test_the_short_profile_changes_times_and_counts_of_blocks_only() -> None:
    """Thresholds, bounds and protections are those of production: same code, same rules, shorter windows."""
    changed = {key for group in PROFILES["short"].values() for key in group}
    units = ("_s", "_h", "_hours", "_ms")
    assert {k for k in changed if not k.endswith(units)} == {"min_blocks_before", "min_blocks_after"}


def test_windows_of_a_profile_fit_into_each_other() -> None:
    for name in PROFILES:
        settings = with_profile(name)
        v, bucket_s = settings.verifying, settings.sampling.bucket_s
        assert bucket_s <= v.block_s <= v.look_every_s, name
        assert v.settle_s + v.min_blocks_after * v.block_s < v.deadline_s <= v.low_traffic_deadline_s, name
        assert v.min_blocks_before * v.block_s <= v.min_baseline_h * 3600 <= v.baseline_h * 3600, name


def test_what_is_said_lies_over_the_profile_key_by_key() -> None:
    settings = with_profile("short", {"mode": "auto", "verifying": {"block_s": 4}})
    assert (settings.profile, settings.mode, settings.verifying.block_s) == ("short", Mode.AUTO, 4)
    assert settings.verifying.deadline_s == PROFILES["short"]["verifying"]["deadline_s"]
    assert PROFILES["short"]["verifying"]["block_s"] == 3


def test_a_merge_replaces_what_is_no_table_on_both_sides() -> None:
    assert merge({"a": {"x": 1, "y": 1}, "b": 1, "c": {"z": 1}}, {"a": {"y": 2}, "b": {"n": 2}, "c": 2}) == {
        "a": {"x": 1, "y": 2},
        "b": {"n": 2},
        "c": 2,
    }


def test_the_defaults_act_on_nothing() -> None:
    assert Settings().mode == Mode.PROPOSE
    assert [m for m in Mode if m.acts] == [Mode.APPROVE, Mode.AUTO]


@pytest.mark.parametrize("group", [None, "sampling", "advice", "acting", "verifying"])
def test_an_unknown_key_is_forbidden(group: str | None) -> None:
    values = {"sigma": 3} if group is None else {group: {"sigma": 3}}
    with pytest.raises(ValidationError, match="Extra inputs"):
        Settings.model_validate(values)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("sampling", "bucket_s", 0),
        ("advice", "index_budget", "lots"),
        ("advice", "index_budget", "infMB"),
        ("advice", "max_width", 9),
        ("advice", "min_saving_share", 1.1),
        ("acting", "approve_threshold", 0),
        ("acting", "approve_threshold", 6),
        ("acting", "on_inconclusive", "drop"),
        ("acting", "protected", "billing.*"),
        ("verifying", "decide_e", float("nan")),
        ("verifying", "revert_e", float("inf")),
        ("verifying", "min_blocks_after", 1),
        ("verifying", "settle_s", -1),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(group: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({group: {key: value}})
    assert refused.value.errors()[0]["loc"][:2] == (group, key)


def test_no_accepted_time_is_later_than_a_datetime_can_tell() -> None:
    """ "Never" is written as a large number; it must not break the arithmetic of due times."""
    with pytest.raises(ValidationError):
        Settings.model_validate({"acting": {"failure_memory_h": 1e9, "approval_expires_h": 1e9}})
    far = Settings.model_validate({"acting": {"failure_memory_h": 1e6, "approval_expires_h": 1e6}}).acting
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert now + timedelta(hours=max(far.failure_memory_h, far.approval_expires_h)) > now


def test_settings_cannot_be_changed_at_run_time() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().mode = Mode.AUTO


def test_every_number_has_its_unit_in_its_name() -> None:
    """A float is a time, a size, a share or a ratio, and its name says which. A score has no unit."""
    units = (
        "_s",
        "_h",
        "_hours",
        "_d",
        "_ms",
        "_share",
        "_gain",
        "_ratio",
        "_per_minute",
        "sigmas",
        "_threshold",
        "_coherence",
        "_e",
    )
    fields = itertools.chain.from_iterable(
        group.default.__class__.model_fields.items()
        for group in Settings.model_fields.values()
        if isinstance(group.default, BaseModel)
    )
    unnamed = [name for name, field in fields if isinstance(field.default, float) and not name.endswith(units)]
    assert not unnamed


@pytest.mark.parametrize("name", ["id", "status", "tokens_out"])
def test_an_expression_is_not_empty(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"requests\.{name}\n.*at least 1 character"):
        with_profile("production", {"requests": {name: "  "}})


@pytest.mark.parametrize(("name", "most"), [("neighbours", 200), ("trees", 1000)])
def test_what_detection_costs_is_bounded(name: str, most: int) -> None:
    assert getattr(Settings.model_validate({"detect": {name: most}}).detect, name) == most
    for value in (0, most + 1):
        with pytest.raises(ValidationError, match=rf"detect\.{name}\n"):
            Settings.model_validate({"detect": {name: value}})
