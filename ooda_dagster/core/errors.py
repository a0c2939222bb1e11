"""What of an error may stand in a table, a tag, a message to a person."""

from __future__ import annotations

import re

from ooda_dagster.core.text import cut

#: In a URL, or in a connection string of keys.
_PASSWORD = re.compile(r"(://[^/\s:@]*:|password\s*=\s*)[^\s@]+", re.IGNORECASE)


def one_line(error: BaseException | str, length: int = 300) -> str:
    """Its first line, cut and without passwords. Further lines of a database's error quote rows and statements."""
    text = str(error)
    line = next((part for part in text.splitlines() if part.strip()), "")
    line = _PASSWORD.sub(r"\1***", line) or (type(error).__name__ if isinstance(error, BaseException) else "")
    return cut(line, length)
