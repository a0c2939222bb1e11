"""Statements as anybody may read them: without literals, and with the digest of what they were."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ooda_dagster.core.chain import STATEMENTS, digest_of
from ooda_dagster.core.planner_statistics import RESTORE
from ooda_dagster.core.scrub import scrubbed

_TARGET = re.compile(r"(SET STATISTICS -?)\d+\Z")  # a number of ours


def has_literals(text: str) -> bool:
    """Whether a statement holds values that may be the user's."""
    return text != RESTORE and scrubbed(text) != _TARGET.sub(r"\1?", text)


def readable(statements: Sequence[str]) -> list[dict[str, Any]]:
    """Each statement as text, sha256 of the exact one, and whether the text is the exact one."""
    return [
        {
            "text": scrubbed(text) if (hidden := has_literals(text)) else text,
            "sha256": digest_of(text),
            "exact": not hidden,
        }
        for text in statements
    ]


def without_literals(detail: dict[str, Any]) -> dict[str, Any]:
    """A journal row's detail, those of its statements that hold literals by their digest: the row keeps its hash."""
    lists = {name: detail[name] for name in STATEMENTS if isinstance(detail.get(name), list)}
    return {**detail, **{name: [_taken_out(item) for item in items] for name, items in lists.items()}}


def _taken_out(statement: Any) -> Any:
    return {"sha256": digest_of(statement)} if isinstance(statement, str) and has_literals(statement) else statement
