"""What are our assets called in a Dagster that others use too? The table [dagster] of `ooda.toml`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

KEYS = ("key_prefix", "group_prefix", "source_assets", "owners")
#: What the loop reads, as assets that somebody else may own.
SOURCES = ("statements", "catalogue", "inference_requests")

#: What Dagster takes in asset keys (with / between their parts) and in groups.
_KEY = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*\Z")
#: What it takes as an owner.
_OWNER = re.compile(r"team:\S+\Z|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\Z")
_GROUP = re.compile(r"[A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Deployment:
    """key_prefix, group_prefix: before our asset keys and groups. source_assets: source → key of a user's asset.

    owners: whose our assets are.
    """

    key_prefix: tuple[str, ...] = ()
    group_prefix: str = ""
    source_assets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    owners: tuple[str, ...] = ()


def deployment(table: Mapping[str, Any], mistake: Callable[[tuple[str, ...], str], Exception]) -> Deployment:
    """What the table says. Raises what `mistake` makes of a key and a word about it."""

    def parts(path: tuple[str, ...], value: object) -> tuple[str, ...]:
        if not isinstance(value, str) or not _KEY.match(value):
            raise mistake(path, f"{'.'.join(path)} must be an asset key such as 'tuning' or 'warehouse/statements'")
        return tuple(value.split("/"))

    group = table.get("group_prefix", "")
    if not isinstance(group, str) or not _GROUP.match(group):
        raise mistake(("group_prefix",), "group_prefix may hold letters, digits and _")
    prefix = table.get("key_prefix")
    sources = table.get("source_assets", {})
    return Deployment(
        parts(("key_prefix",), prefix) if prefix is not None else (),
        group,
        {name: parts(("source_assets", name), key) for name, key in sources.items()},
        _owners(table.get("owners", []), mistake),
    )


def _owners(value: Any, mistake: Callable[[tuple[str, ...], str], Exception]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(o, str) and _OWNER.match(o) for o in value):
        words = 'dagster.owners is a list of email addresses and teams, such as ["team:data"]'
        raise mistake(("owners",), words)
    return tuple(value)
