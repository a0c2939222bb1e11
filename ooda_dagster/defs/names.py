"""What are our assets and groups called, and whose are they? As in the docs, or as somebody's own deployment has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from ooda_dagster.config import Deployment
from ooda_dagster.config.deployment import SOURCES

#: Assets of a cycle, in its order.
CYCLE = ("observations", "hypotheses", "decisions", "action_results", "learning_deltas")


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
        return self.key(name).to_python_identifier()

    @property
    def cycle(self) -> Sequence[dg.AssetKey]:
        return [self.key(name) for name in CYCLE]


def names_of(
    deployment: Deployment,
    key_prefix: str | Sequence[str] | None = None,
    group_prefix: str | None = None,
    sources: Mapping[str, object] | None = None,
    owners: Sequence[str] | None = None,
) -> Names:
    """Names as `ooda.toml` gives them, and over it a user: prefixes and keys as words with / in them, or as lists."""
    prefix = deployment.key_prefix if key_prefix is None else key_prefix
    keys = deployment.source_assets if sources is None else sources
    return Names(
        tuple(p for p in prefix.split("/") if p) if isinstance(prefix, str) else tuple(prefix),
        deployment.group_prefix if group_prefix is None else group_prefix,
        {name: _key(key) for name, key in keys.items()},
        tuple(deployment.owners if owners is None else owners),
    )


def _key(given: object) -> dg.AssetKey:
    # Dagster's own reading of a word makes one part of it, with a / that no key may have.
    return dg.AssetKey.from_user_string(given) if isinstance(given, str) else dg.AssetKey.from_coercible(given)  # type: ignore[arg-type]
