"""Who did it? For the journal and the audit."""

from __future__ import annotations

import os
import pwd
import socket


def os_user() -> str:
    """Who runs this process, by its user id: environment variables could say anybody.

    Under sudo it is the person who called it; only root could have said otherwise.
    """
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user without a passwd entry
        name = f"uid {uid}"
    person = os.environ.get("SUDO_USER") if uid == 0 else None
    return f"{person} (sudo)" if person and person != name else name


def seen_by() -> str:
    """Of a change in the configuration the ledger knows only which process first ran with it."""
    return f"configuration file, seen by {os_user()}@{socket.gethostname()}"
