"""Runs many definitions on the clone; what fails is tried again after the others, and then named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from ooda_dagster.embedded.clone.source import trusted

Named = tuple[str, str]  # object, statement

_CHUNK = 100


def replay(clone: psycopg.Connection[Any], statements: Iterable[Named], *, chunk: int = _CHUNK) -> dict[str, str]:
    """Run statements in chunks, failed chunks singly and repeatedly: the order of dependence solves itself.

    Returns object → the server's word for those that failed in the end.
    """
    todo = list(statements)
    left: list[Named] = []
    for start in range(0, len(todo), chunk):
        part = todo[start : start + chunk]
        try:
            clone.execute(trusted(";\n".join(statement for _, statement in part)))
        except psycopg.Error:
            left += part
    failed: dict[str, str] = {}
    while left:
        again: list[Named] = []
        for name, statement in left:
            try:
                clone.execute(trusted(statement))
                failed.pop(name, None)
            except psycopg.Error as error:
                # The primary message names objects; values would stand in the detail, which is not kept.
                failed[name] = (error.diag.message_primary or type(error).__name__)[:200]
                again.append((name, statement))
        if len(again) == len(left):
            break
        left = again
    return failed
