"""What changed in a target's settings, fit to be kept: key, before, after."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.settings import Settings, with_profile

_PLAIN = re.compile(r"[\w.*?%+-]*\Z")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"(?<=\w)\?\S*=\S*\Z")  # of a URL, where tokens are passed


def told(settings: Settings) -> dict[str, Any]:
    """Dotted key → value, without the mode (it has an audited event of its own) and without literals.

    SQL expressions and URLs may hold secrets. What is cut is replaced by a check of 16 bits, so that another value
    shows as a change: too short to guess the value from.
    """
    return {key: _kept(key, value) for key, value in _flat(settings.model_dump(mode="json")) if key != "mode"}


def usual(settings: Settings) -> dict[str, Any]:
    """`told` of the profile's own settings."""
    return told(with_profile(settings.profile))


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Key → {"before", "after"}, where they differ; a side that does not know the key has None."""
    keys = sorted(before.keys() | after.keys())
    return {
        key: {"before": before.get(key), "after": after.get(key)} for key in keys if before.get(key) != after.get(key)
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _kept(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_kept(key, item) for item in value]
    if isinstance(value, Mapping):
        return {name: _kept(key, item) for name, item in value.items()}
    if not isinstance(value, str) or _PLAIN.match(value):
        return value
    cut = value
    if "://" in value:
        cut = _QUERY.sub("?…", _CREDENTIALS.sub("…@", value))
    elif key.startswith("requests.") or "'" in value or "$" in value:
        cut = scrubbed(value)
    if cut == value:
        return value
    return f"{cut} #{hashlib.sha256(value.encode()).hexdigest()[:4]}"
