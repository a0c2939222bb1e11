"""Where do the embedded clusters and Dagster's local files live?"""

from __future__ import annotations

import os
from pathlib import Path


def home_directory() -> Path:
    """`$OODA_HOME`, else `.ooda` in the working directory. Made on first use by whoever writes there."""
    return Path(os.environ.get("OODA_HOME", ".ooda")).absolute()
