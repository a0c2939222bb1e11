"""Runs many definitions on the clone; what fails is tried again after the others, and then named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from psycopg import sql

from ooda_dagster.core.errors import server_words
from ooda_dagster.embedded.clone.source import trusted

Named = tuple[str, str]  # object, statement

_CHUNK = 100


def replay(run: Callable[[sql.SQL], Any], statements: Iterable[Named], *, chunk: int = _CHUNK) -> dict[str, str]:
    """Run statements on the clone in chunks, failed chunks singly and again: the order of dependence solves itself.

    Returns object → the server's word for those that failed in the end.
    """
    todo = list(statements)
    left: list[Named] = []
    for start in range(0, len(todo), chunk):
        part = todo[start : start + chunk]
        try:
            run(trusted(";\n".join(statement for _, statement in part)))
        except psycopg.Error:
            left += part
    failed: dict[str, str] = {}
    while left:
        again: list[Named] = []
        for name, statement in left:
            try:
                run(trusted(statement))
                failed.pop(name, None)
            except psycopg.Error as error:
                failed[name] = server_words(error)[:200]
                again.append((name, statement))
        if len(again) == len(left):
            break
        left = again
    return failed
