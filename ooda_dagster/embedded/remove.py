"""Removes the embedded clusters of a project: `python -m ooda_dagster.embedded.remove .ooda`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ooda_dagster.embedded.cluster import Cluster
from ooda_dagster.embedded.files import ClusterFiles
from ooda_dagster.embedded.server_user import ServerUser, discard_place, leave_home, read_owner


def remove_clusters(home: Path) -> None:
    """Stop and remove every cluster below `home`, with what was made elsewhere for it alone."""
    user = ServerUser.choose()
    for directory, folders, _ in os.walk(home.absolute()):
        here = Path(directory)
        for name in [f for f in folders if _is_ours(here / f)]:
            folders.remove(name)
            foreign, place = ClusterFiles(here / name).foreign, (here / name).resolve().parent
            Cluster(here, name).destroy()
            if not foreign:
                discard_place(place)  # another than that of `here`, where the project was moved
        leave_home(here, user)  # a start that failed made it, and no cluster


def _is_ours(path: Path) -> bool:
    """Whether it is a cluster; a link may lead to that of the project which this one was copied from."""
    if path.is_symlink():
        return read_owner(path.resolve().parent) is not None
    return os.path.exists(path / "cluster.json")


if __name__ == "__main__":
    remove_clusters(Path(sys.argv[1]))
