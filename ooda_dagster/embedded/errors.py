"""What can go wrong with a cluster of ours."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """A cluster that cannot be made, started or used; quotes the server's log."""
