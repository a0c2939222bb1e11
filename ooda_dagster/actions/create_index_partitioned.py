"""An index on a partitioned table, without stopping those who use it.

CREATE INDEX CONCURRENTLY knows no partitioned tables. So the index is made on the parent alone (invalid, and empty), on
each partition CONCURRENTLY, one by one, and attached there; with the last one it becomes valid by itself. From the
first statement on, the server gives each new partition its index. What a dead worker began is gone on with.

Nothing drops such an index CONCURRENTLY, and no part of it alone: the undo locks the table and all partitions, for an
instant. It waits `acting.brief_lock_s` for that at most, and comes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ooda_dagster.actions.base import Applied, Presence, SupersededError
from ooda_dagster.actions.create_index import (
    DUPLICATE_TABLE,
    THEIRS,
    CreateIndex,
    object_of,
    outline,
    propose_index,
    spec_from_json,
    spec_to_json,
)
from ooda_dagster.actions.sending import own_comment, signed
from ooda_dagster.actions.tries import briefly
from ooda_dagster.core.catalogue import Index
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.identifiers import qualified
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import IN_FLIGHT, State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import (
    Acting,
    LostLockError,
    Observing,
    RefusedError,
    TargetError,
    TargetUnreachableError,
)
from ooda_dagster.targets.surroundings import Partition

_SOME = 3  # names in a message


@dataclass(frozen=True)
class Part:
    """The index of one table of the tree. parent: label of the index that it is attached to; None: the root."""

    spec: IndexSpec
    name: str
    partitioned: bool
    parent: str | None

    @property
    def table(self) -> tuple[str, str]:
        return self.spec.schema, self.spec.table

    @property
    def label(self) -> str:
        return qualified(self.spec.schema, self.name)

    @property
    def create(self) -> str:
        return self.spec.ddl(name=self.name, only=self.partitioned)

    @property
    def attach(self) -> str | None:
        return f"ALTER INDEX {self.parent} ATTACH PARTITION {self.label}" if self.parent else None

    @property
    def drop(self) -> str:
        return self.spec.drop(name=self.name, concurrently=not self.partitioned)


def parts_of(spec: IndexSpec, name: str, partitions: Sequence[Partition]) -> list[Part]:
    """An index for each table of a tree, parents first; the root's has the name `name`."""
    found: dict[tuple[str, str], Part] = {}
    for partition in partitions:
        on = replace(spec, schema=partition.schema, table=partition.name)
        above = found[partition.parent].label if partition.parent else None
        found[partition.key] = Part(on, on.name if above else name, partition.kind == "p", above)
    return list(found.values())


def _partitions(spec: dict[str, Any]) -> list[Partition]:
    """The tree as it was when the index was proposed."""
    return [Partition(**{**p, "parent": tuple(p["parent"]) if p["parent"] else None}) for p in spec["partitions"]]


def propose_partitioned_index(
    spec: IndexSpec, partitions: Sequence[Partition], *, name: str | None = None, **others: Any
) -> Proposal:
    """A proposal to build `spec` on a partitioned table with these partitions."""
    name = name or spec.name
    parts = parts_of(spec, name, partitions)
    leaves = sum(not p.partitioned for p in parts)
    described = f"Build an index on {spec.relation} ({', '.join(c.text for c in spec.columns)})"
    values = {
        "action_type": CreatePartitionedIndex.name,
        "description": f"{described}, in {leaves} partitions one by one; its undo locks all of them for an instant",
        "statements": [s for part in parts for s in (part.create, part.attach) if s],
        "undo": [spec.drop(name=name, concurrently=False)],
        "spec": {**spec_to_json(spec), "partitions": [asdict(p) for p in partitions]},
        "risk": "medium",
    }
    return replace(propose_index(spec, name=name, **others), **values)


class CreatePartitionedIndex(CreateIndex):
    """Implements `actions.base.ActionType`."""

    name = str(HypothesisType.PARTITIONED_INDEX)
    table_kinds = frozenset("p")
    _refusal = "the approved statements are of a partitioned one; propose it again"

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        return propose_partitioned_index(spec_from_json(spec), _partitions(spec), **fields)

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        spec, _, _ = object_of(action)
        catalogue = session.catalogue()
        self._still_wanted(action, catalogue)
        tree = session.partitions(spec.schema, spec.table)
        approved = {p.key for p in _partitions(action.spec)}
        if changed := approved ^ {p.key for p in tree}:
            names = sorted(qualified(*key) for key in changed)
            raise SupersededError(f"{spec.relation} lost or got partitions ({_some(names)}); propose it again")
        if foreign := [p.label for p in tree if p.kind == "f"]:
            raise RefusedError(
                f"{spec.relation} has foreign partitions ({_some(foreign)}): an index built partition by partition "
                "would never become valid"
            )
        if len({p.owner for p in tree}) > 1:
            raise RefusedError(f"{spec.relation} and its partitions have more than one owner; ALTER TABLE ... OWNER TO")
        for part in parts_of(spec, str(action.object_name), tree):
            table = catalogue.tables.get(part.table)
            for index in table.indexes if table else ():
                if (index.schema, index.name) == (part.spec.schema, part.name):
                    raise RefusedError(f"an index named {index.label} exists on a partition")
                if part.parent and index.spec and index.valid and index.spec.serves(part.spec):
                    raise RefusedError(
                        f"{index.label} serves the same statements on a partition already: drop it, or build an index "
                        "on each of the other partitions"
                    )

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        prior, spec = super().snapshot(action, session), object_of(action)[0]
        catalogue = session.catalogue()
        tables = [catalogue.tables[p.key] for p in session.partitions(spec.schema, spec.table) if p.level]
        return {
            **prior,
            "indexes": {**prior["indexes"], **{i.label: i.definition for t in tables for i in t.indexes}},
            "bytes": sum(t.bytes for t in tables),
        }

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        spec, _, name = object_of(action)
        root = parts_of(spec, name, session.partitions(spec.schema, spec.table)[:1])[0]
        try:
            self._create(action, root, session, settings)
        except TargetError as error:
            if getattr(error.__cause__, "sqlstate", None) == DUPLICATE_TABLE:
                raise SupersededError(f"somebody else made {root.label} meanwhile: it is theirs") from error
            raise
        rest = self.adopt(action, session, settings)
        return replace(rest, statements=[root.create, *rest.statements])

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Go on from wherever an earlier try, or a dead worker, ended."""
        spec, schema, name = object_of(action)
        tree = {p.key: p for p in session.partitions(spec.schema, spec.table)}
        kept = [tree[p.key] for p in _partitions(action.spec) if p.key in tree]
        sent: list[str] = []
        attached = {a.label for a in session.attached(schema, name)}
        for part in parts_of(spec, name, kept):
            if part.label in attached:
                continue
            try:
                self._build(action, part, session, settings, sent)
            except (LostLockError, TargetUnreachableError):
                raise
            except TargetError:
                if part.parent is None or part.table in {p.key for p in session.partitions(spec.schema, spec.table)}:
                    raise  # else it was dropped or detached meanwhile, and its index with it
        found = session.attached(schema, name)
        if not found or not found[0].valid:
            covered = {a.table_key for a in found}
            left = [p.label for p in session.partitions(spec.schema, spec.table) if p.key not in covered]
            label = qualified(schema, name)
            raise TargetError(f"{label} stays invalid: no part of it is on {_some(left)}; propose it again")
        if found[0].comment != own_comment(action):
            sent.append(self._sign(action, session, settings))
        detail = {"bytes": sum(a.bytes for a in found), "partitions": len(found) - 1}
        return Applied(found[0].oid, sent, detail)

    def _create(self, action: Action, part: Part, session: Acting, settings: Settings) -> None:
        owner, limits = action.prior_state.get("owner"), settings.acting
        statement = signed(action, part.create)
        if part.partitioned:  # shuts out writers while it waits
            briefly(session, statement, role=owner, policy=limits)
        else:
            session.execute(
                statement, role=owner, lock_timeout_s=limits.lock_timeout_s, timeout_s=limits.build_timeout_s
            )

    def _build(self, action: Action, part: Part, session: Acting, settings: Settings, sent: list[str]) -> None:
        """Make the index of one table and attach it."""
        index = session.index(part.spec.schema, part.name)
        if index is not None and not self._is_part(index, part, action):
            raise TargetError(f"somebody else made {part.label} meanwhile: it is theirs")
        if index is not None and not index.valid and not part.partitioned:
            self._drop(action, session, settings, [part.drop])
            index = None
        if index is None:
            sent.append(part.create)
            self._create(action, part, session, settings)
        if part.attach:  # shuts out all whose plan looks at the partition's indexes while it waits
            sent.append(part.attach)
            role = action.prior_state.get("owner")
            briefly(session, signed(action, part.attach), role=role, policy=settings.acting)

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        _, schema, name = object_of(action)
        found = session.attached(schema, name)
        if not found:
            return super().undo(action, session, settings)
        if self.presence(action, session) == Presence.FOREIGN:
            raise RefusedError(f"{found[0].label} {THEIRS}")
        return Applied(None, self.remove_debris(action, session, settings), self.usage_of(found))

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        """Of its root; where that is gone, or another's, an own part that hung on to nothing yet is left of it."""
        presence = self._of_root(action, session)
        rootless = presence in (Presence.ABSENT, Presence.FOREIGN) and action.state == State.APPLYING
        return Presence.BROKEN if rootless and self._loose(action, session) else presence

    def _of_root(self, action: Action, session: Observing | Acting) -> Presence:
        presence = super().presence(action, session)
        if presence in (Presence.ABSENT, Presence.FOREIGN):
            return presence
        _, schema, name = object_of(action)
        if any(a.comment not in (None, own_comment(action)) for a in session.attached(schema, name)):
            return Presence.FOREIGN
        return Presence.PARTIAL if presence == Presence.BROKEN and action.state in IN_FLIGHT else presence

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        """Drop it all: what is not attached yet first, so that the root is there as long as anything is.

        A person may have dropped the root before: with it went what was attached to it.
        """
        spec, _, name = object_of(action)
        gone = self._of_root(action, session) in (Presence.ABSENT, Presence.FOREIGN)
        root = parts_of(spec, name, session.partitions(spec.schema, spec.table)[:1])
        sent: list[str] = []
        for part in [*self._loose(action, session), *([] if gone else root)]:
            self._drop_part(action, part, session, settings)
            sent.append(part.drop)
        return sent

    def _loose(self, action: Action, session: Observing | Acting) -> list[Part]:
        """Parts that were made and not attached yet, by name, table, definition and journal ours, and not changed."""
        spec, schema, name = object_of(action)
        attached = {a.label for a in session.attached(schema, name)}
        tree = {p.key: p for p in session.partitions(spec.schema, spec.table)}
        kept = [tree[p.key] for p in _partitions(action.spec) if p.key in tree]
        parts = [p for p in parts_of(spec, name, kept) if p.parent and p.label not in attached]
        found = [(p, session.index(p.spec.schema, p.name)) for p in parts]
        return [part for part, index in reversed(found) if index is not None and self._is_part(index, part, action)]

    def _drop_part(self, action: Action, part: Part, session: Acting, settings: Settings) -> None:
        if part.partitioned:
            role = action.prior_state.get("owner")
            briefly(session, signed(action, part.drop), role=role, policy=settings.acting)
        else:
            self._drop(action, session, settings, [part.drop])

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        _, schema, name = object_of(action)
        return self.usage_of(session.attached(schema, name))

    @staticmethod
    def usage_of(found: Sequence[Any]) -> dict[str, Any]:
        """Of all parts together."""
        return {"scans": sum(a.scans for a in found), "bytes": sum(a.bytes for a in found)} if found else {}

    def _is_part(self, index: Index, part: Part, action: Action) -> bool:
        """Whether an index under a part's name is that part, made and not attached: by table and definition.

        And by being new, without a word, and as we make them: else it is somebody's.
        """
        was_there = index.label in action.prior_state.get("indexes", {})
        same_table = (index.schema, index.table) == part.table
        same = index.spec is not None and outline(index.spec) == outline(part.spec)
        theirs = was_there or index.altered or index.attached or index.comment is not None
        return same_table and same and not theirs


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SOME]) + (", ..." if len(names) > _SOME else "")
