"""What `ooda.toml` says beside targets: who hears of what goes wrong, and whose the assets are in Dagster."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from ooda_dagster.config.references import Reference

#: What Dagster takes as an owner.
OWNER = re.compile(r"team:\S+\Z|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\Z")
#: How the URL of a webhook may be given: a secret, like a connection's.
WEBHOOK_KINDS = ("env", "file", "command")


@dataclass(frozen=True)
class Alerts:
    """Channels of alerts: a webhook by reference, and a command that gets the alert as JSON on stdin."""

    webhook: Reference | None = None
    command: str | None = None


def is_command(value: Any) -> bool:
    """Whether this is a program with its arguments, in a shell's notation."""
    try:
        return bool(shlex.split(value))
    except (AttributeError, TypeError, ValueError):
        return False
