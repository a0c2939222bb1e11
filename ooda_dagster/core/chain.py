"""Rows that hold the hash of the row before them: a later edit, insertion or deletion shows.

    hash = SHA-256(hash of the row before + "\\n" + the row's content as canonical JSON), in hex

Exact statements, which may hold literals, are in that content as their digests: a row whose statements were taken out,
and their digests left, still has its hash.

Who may write to the ledger can compute hashes too, and write a whole chain anew. Only a hash that was kept elsewhere
shows that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

#: What stands before the first row.
GENESIS = "0" * 64
#: What of a row's detail is a list of exact statements.
STATEMENTS = ("statements", "undo")
#: The chain of what people and switches did; one in all.
AUDIT = "audit"
#: What is hashed of a row of each table, beside the chain's name and the row's position in it.
JOURNAL_FIELDS = ("target", "action_id", "at", "from_state", "to_state", "actor", "reason", "detail")
AUDIT_FIELDS = ("target", "at", "event", "actor", "detail")


def journal_chain(target: str) -> str:
    """The chain of a target's journal."""
    return f"journal/{target}"


def link(before: str, chain: str, position: int, content: Mapping[str, Any], *, taken_out: bool = False) -> str:
    """Hash of a row: `before` is that of the row at `position` - 1, GENESIS for the first, at position 1.

    taken_out: a statement may be given by its digest, {"sha256": ...}, as evidence has those with literals.
    """
    return _link(before, chain, position, _sealed(content, taken_out))


def holds(
    digest: str, before: str, chain: str, position: int, content: Mapping[str, Any], *, taken_out: bool = False
) -> bool:
    """Whether a row has the hash `digest`, or had it by the form of before statements were digests in it."""
    now = link(before, chain, position, content, taken_out=taken_out)
    return digest in (now, _link(before, chain, position, content))


def digest_of(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def statements_hash(statements: Sequence[str], undo: Sequence[str]) -> str:
    """What an approval is bound to: the exact statements and their undo."""
    return digest_of(json.dumps([list(statements), list(undo)]))


def _link(before: str, chain: str, position: int, content: Mapping[str, Any]) -> str:
    row = {**content, "chain": chain, "position": position}
    return digest_of(f"{before}\n{canonical(row)}")


def _sealed(content: Mapping[str, Any], taken_out: bool) -> Mapping[str, Any]:
    detail = content.get("detail")
    if not isinstance(detail, dict):
        return content
    lists = {name: detail[name] for name in STATEMENTS if isinstance(detail.get(name), list)}
    if not lists:
        return content
    sealed = {name: [_seal(item, taken_out) for item in items] for name, items in lists.items()}
    return {**content, "detail": {**detail, **sealed}, "form": "statements as digests"}  # a key that no row has


def _seal(statement: Any, taken_out: bool) -> Any:
    if isinstance(statement, str):
        return {"sha256": digest_of(statement)}
    return statement if taken_out else {"not a statement": statement}


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII, UTC times in microseconds, and one form of each number.

    A number comes back from PostgreSQL's jsonb in another spelling (1e16 as 10000000000000000): what is whole is
    written as an integer, the rest as Python's shortest float.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return int(Decimal(repr(value))) if value.is_integer() else value  # its digits: int(1e23) has others
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value
