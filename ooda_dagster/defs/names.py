"""What are our assets and groups called, and whose are they? As in the docs, or as somebody's own deployment has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

#: Assets of a cycle, in its order.
CYCLE = ("observations", "hypotheses", "decisions", "action_results", "learning_deltas")
#: What the loop reads, as assets that somebody else may own.
SOURCES = ("statements", "catalogue", "inference_requests")


@dataclass(frozen=True)
class Names:
    """key_prefix: before all keys; group_prefix: before all groups; sources: name in SOURCES → key of the user's.

    owners: whose all assets are, as Dagster writes it.
    """

    key_prefix: tuple[str, ...] = ()
    group_prefix: str = ""
    sources: Mapping[str, dg.AssetKey] = field(default_factory=dict)
    owners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.sources) - set(SOURCES)):
            raise ValueError(f"no source asset {', '.join(unknown)}; there are: {', '.join(SOURCES)}")

    def key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey([*self.key_prefix, "ooda", name])

    def source(self, name: str) -> dg.AssetKey:
        return self.sources.get(name) or dg.AssetKey([*self.key_prefix, "target", name])

    def group(self, name: str) -> str:
        return f"{self.group_prefix}ooda_{name}"

    def op(self, name: str) -> str:
        """The step of an asset, as run configuration calls it."""
        return "__".join(self.key(name).path)

    @property
    def cycle(self) -> Sequence[dg.AssetKey]:
        return [self.key(name) for name in CYCLE]


def names_of(
    key_prefix: str | Sequence[str] | None,
    group_prefix: str | None,
    sources: Mapping[str, object],
    owners: Sequence[str] = (),
) -> Names:
    """Names as a user gives them: prefixes as words or lists, keys in any form that Dagster takes."""
    prefix = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix or ())
    keys = {name: dg.AssetKey.from_coercible(key) for name, key in sources.items()}  # type: ignore[arg-type]
    return Names(prefix, group_prefix or "", keys, tuple(owners))
