"""`ooda`: the command line."""

from ooda_dagster.cli.app import main

__all__ = ["main"]
