"""After how long is a network that only falls silent given up? For every connection of ours, to a target or the ledger.

A host that vanished tells nobody, and no timeout of its server's helps: its sessions are given up within a minute.
Where something between drops silent connections, the probes also keep that of a long CREATE INDEX. What a connection
string says itself goes before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: libpq's words. Seconds, probes, and milliseconds.
KEEP_ALIVE: Mapping[str, int] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
CONNECT_TIMEOUT_S = 10


def patience(given: Mapping[str, Any]) -> dict[str, Any]:
    """These of a connection whose string has the parameters `given`."""
    return {
        name: given.get(name, value) for name, value in {**KEEP_ALIVE, "connect_timeout": CONNECT_TIMEOUT_S}.items()
    }
