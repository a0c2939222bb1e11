"""Lists of what may be acted on and what may not: `schema:billing`, `table:shop.order*`, `statement:9f3a*`, `type:*`.

`*` and `?` stand for any characters and for one. A table without a dot is one of any schema; names are written as in
SQL or without their quotes; a statement is named by its fingerprint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ooda_dagster.core.identifiers import parts

KINDS = ("schema", "table", "statement", "type")


@dataclass(frozen=True)
class Subject:
    """What a change is about. touches: fingerprints that it can change; serves: those that it is made for."""

    relation: str
    action_type: str
    touches: Collection[str] = ()
    serves: Collection[str] = ()


@dataclass(frozen=True)
class Pattern:
    """One entry of a list. kind: one of KINDS."""

    kind: str
    glob: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.glob}"

    def denies(self, subject: Subject) -> bool:
        """Whether the subject has to do with what the pattern names: of statements, one that it touches is enough."""
        return self._matches(subject, {*subject.touches, *subject.serves})

    def allows(self, subject: Subject) -> bool:
        """Whether the subject is about what the pattern names: of statements, one that it is made for."""
        return self._matches(subject, subject.serves or subject.touches)

    def _matches(self, subject: Subject, statements: Iterable[str]) -> bool:
        if self.kind == "type":
            return fnmatchcase(subject.action_type, self.glob)
        if self.kind == "statement":
            return any(fnmatchcase(statement, self.glob) for statement in statements)
        if self.kind == "table":
            return is_named(subject.relation, self.glob)
        schema = parts(subject.relation)[:-1]
        return bool(schema) and fnmatchcase(schema[0], "".join(parts(self.glob)))


def parse_pattern(text: str) -> Pattern:
    """Raises ValueError, which says what an entry looks like."""
    kind, colon, glob = (part.strip() for part in text.partition(":"))
    if kind not in KINDS or not colon or not glob:
        kinds = ", ".join(f"{k}:..." for k in KINDS)
        raise ValueError(f"{text!r} is no entry of a list; they are {kinds}, with * and ?")
    return Pattern(kind, glob)


def denial(deny: Iterable[str], subject: Subject) -> Pattern | None:
    """The first entry that denies a subject."""
    return next((p for p in map(parse_pattern, deny) if p.denies(subject)), None)


def not_allowed(allow: Iterable[str], subject: Subject) -> tuple[Pattern, ...]:
    """The entries of a kind of which none names the subject; empty where it is allowed.

    A kind without an entry allows all.
    """
    entries = [parse_pattern(text) for text in allow]
    for kind in KINDS:
        of_kind = tuple(p for p in entries if p.kind == kind)
        if of_kind and not any(p.allows(subject) for p in of_kind):
            return of_kind
    return ()


def is_named(relation: str, glob: str) -> bool:
    """Whether a pattern names a relation, quoted as in SQL or not; without a dot, a table of any schema."""
    names = parts(relation)
    known = [relation, ".".join(names), *(names[-1:] if "." not in glob else ())]
    return any(fnmatchcase(name, glob) for name in known)
