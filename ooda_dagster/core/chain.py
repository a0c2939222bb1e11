"""Rows that hold the hash of the row before them: a later edit, insertion or deletion shows.

    hash = SHA-256(hash of the row before + "\\n" + the row's content as canonical JSON), in hex

Who may write to the ledger can compute hashes too, and write a whole chain anew. Only a hash that was kept elsewhere
shows that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

#: What stands before the first row.
GENESIS = "0" * 64
#: The chain of what people and switches did; one in all.
AUDIT = "audit"
#: What is hashed of a row of each table, beside the chain's name and the row's position in it.
JOURNAL_FIELDS = ("target", "action_id", "at", "from_state", "to_state", "actor", "reason", "detail")
AUDIT_FIELDS = ("target", "at", "event", "actor", "detail")


def journal_chain(target: str) -> str:
    """The chain of a target's journal."""
    return f"journal/{target}"


def link(before: str, chain: str, position: int, content: Mapping[str, Any]) -> str:
    """Hash of a row: `before` is that of the row at `position` - 1, GENESIS for the first, at position 1."""
    row = {**content, "chain": chain, "position": position}
    return hashlib.sha256(f"{before}\n{canonical(row)}".encode()).hexdigest()


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
