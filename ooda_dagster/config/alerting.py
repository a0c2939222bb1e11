"""Who hears of what goes wrong? The table [alerts] of `ooda.toml`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from ooda_dagster.config.references import Reference

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
