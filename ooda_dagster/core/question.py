"""What a verdict was computed from: as it is asked, and as it is kept, so that anybody can ask it again.

Kept are not the rollup's rows but their sums by statement and block, which is what `judge` makes of them first: one
row a statement and block gives the same matrices, bit by bit, and so the same verdict. Of each block the place of one
of its rows is kept, the earliest of a touched statement, as the length of the baseline is told from it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from ooda_dagster.core.blocks import Blocks, gather
from ooda_dagster.core.chain import canonical, digest_of
from ooda_dagster.core.settings import Verifying
from ooda_dagster.core.verdict import Verdict, judge, to_undo

SUMS = ("sum_ms", "sum_ms_sq", "sum_log_ms", "sum_log_ms_sq")
TOUCHED, CONTROL = "touched", "control"
_CODE = ("verdict.py", "blocks.py", "did_series.py", "filtering.py", "evalue.py")


class QuestionError(ValueError):
    """What was kept of a question cannot be asked."""


@dataclass(frozen=True)
class Question:
    """What `judge` is asked of an action; see there.

    control_is: what the control group is, for people. looser: whether probable harm is enough for an undo.
    deadline_at: when it closes whatever is known; None while that is not settled.
    """

    rollup: pd.DataFrame
    acted_at: datetime
    acted_until: datetime
    now: datetime
    treated: frozenset[str]
    control: frozenset[str]
    excluded: tuple[tuple[datetime, datetime], ...]
    policy: Verifying
    control_is: str
    looser: bool
    deadline_at: datetime | None = None

    def answer(self) -> Verdict:
        """The verdict, as it is recorded."""
        found = judge(
            self.rollup,
            acted_at=self.acted_at,
            acted_until=self.acted_until,
            treated=self.treated,
            control=self.control,
            excluded=self.excluded,
            now=self.now,
            policy=self.policy,
        )
        found.evidence["control"] = self.control_is
        return to_undo(found) if self.looser else found

    def as_json(self) -> dict[str, Any]:
        """Settings, times, and sums by statement and block as JSON; see docs/evidence.md for the names."""
        blocks = gather(
            self.rollup,
            acted_at=self.acted_at,
            ended=self.acted_until,
            now=self.now,
            treated=self.treated,
            control=self.control,
            excluded=self.excluded,
            policy=self.policy,
        )
        columns, places = _places(blocks, self.rollup)
        return {
            "acted_from": moment(self.acted_at),
            "acted_until": moment(self.acted_until),
            "judged_at": moment(self.now),
            "deadline_at": moment(self.deadline_at) if self.deadline_at else None,
            "excluded": [[moment(begin), moment(end)] for begin, end in self.excluded],
            "control_is": self.control_is,
            "undo_by_looser_bar": self.looser,
            "policy": self.policy.model_dump(mode="json"),
            "random_seed": None,  # nothing in a verdict is drawn
            "code": code_digest(),
            **places,
            "statements": [_statement(blocks, row, columns) for row in range(len(blocks.names))],
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Question:
        """Raises QuestionError, which says what is not as it should be."""
        try:
            statements = kept["statements"]
            rollup = _rollup(kept["block_start"], kept["span_s"], statements)
            sides = {name: {s["fingerprint"] for s in statements if s["side"] == name} for name in (TOUCHED, CONTROL)}
            return cls(
                rollup=rollup,
                acted_at=datetime.fromisoformat(kept["acted_from"]),
                acted_until=datetime.fromisoformat(kept["acted_until"]),
                now=datetime.fromisoformat(kept["judged_at"]),
                treated=frozenset(sides[TOUCHED]),
                control=frozenset(sides[CONTROL]),
                excluded=tuple((datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in kept["excluded"]),
                policy=Verifying.model_validate(kept["policy"]),
                control_is=kept["control_is"],
                looser=kept["undo_by_looser_bar"],
                deadline_at=datetime.fromisoformat(kept["deadline_at"]) if kept["deadline_at"] else None,
            )
        except ValidationError as error:
            raise QuestionError(f"the policy is none of this version: {error.errors()[0]['loc']}") from error
        except KeyError as error:
            raise QuestionError(f"{error} is missing") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise QuestionError(str(error)) from error


@dataclass(frozen=True)
class Kept:
    """A question as the ledger keeps it. digest: of its canonical JSON."""

    digest: str
    body: bytes

    @classmethod
    def of(cls, question: Question) -> Kept:
        text = canonical(question.as_json())
        return cls(digest_of(text), zlib.compress(text.encode(), 6))

    def as_json(self) -> dict[str, Any]:
        return json.loads(zlib.decompress(self.body))


def moment(at: datetime) -> str:
    """A time as the chain writes it: UTC, microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


@cache
def code_digest() -> str:
    """SHA-256 of the sources that compute a verdict: other code may answer otherwise."""
    sources = [(files("ooda_dagster.core") / name).read_bytes() for name in _CODE]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def _places(blocks: Blocks, rollup: pd.DataFrame) -> tuple[np.ndarray, dict[str, Any]]:
    """The columns in which something was called, and where each lies: begin and length of one row that it holds."""
    rows, columns = blocks.summed()
    start = pd.DatetimeIndex(pd.to_datetime(rollup["minute"], utc=True)).as_unit("ns").asi8[rows]
    span = rollup["span_s"].to_numpy(float)[rows] if "span_s" in rollup else np.full(len(rows), 60.0)
    touched = rollup["fingerprint"].isin(blocks.names[blocks.treated]).to_numpy()[rows]
    order = np.lexsort((start, ~touched, columns))
    kept, first = np.unique(columns[order], return_index=True)
    one = order[first]
    places = [pd.Timestamp(int(ns), tz="UTC").isoformat() for ns in start[one]]
    return kept, {"block_start": places, "span_s": span[one].tolist()}


def _statement(blocks: Blocks, row: int, columns: np.ndarray) -> dict[str, Any]:
    n = blocks.n[row, columns]
    complete = {"sum_ms": True, "sum_ms_sq": blocks.squares[row]}
    found: dict[str, Any] = {
        "fingerprint": str(blocks.names[row]),
        "side": TOUCHED if blocks.treated[row] else CONTROL,
        "n": [int(calls) if calls.is_integer() else calls for calls in n.tolist()],
    }
    for name in SUMS:
        if complete.get(name, blocks.logs[row]):  # sums that some rows lack serve for nothing
            values = getattr(blocks, name)[row, columns].tolist()
            found[name] = [value if calls else None for value, calls in zip(values, n.tolist(), strict=True)]
    return found


def _rollup(starts: list[str], spans: list[float], statements: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a statement and block, statement after statement, as their order counts for the last bit."""
    minute = pd.DatetimeIndex([pd.Timestamp(text) for text in starts], tz="UTC")
    parts: dict[str, list[Any]] = {"n": [], **{name: [] for name in SUMS}}
    for statement in statements:
        for name in parts:
            values = statement[name] if name == "n" else statement.get(name) or [None] * len(starts)
            if len(values) != len(starts) or any(isinstance(value, bool | str) for value in values):
                raise QuestionError(f"{name} of {statement['fingerprint']} has not one number a block")
            parts[name] += values
    return pd.DataFrame(
        {
            "minute": minute.take(np.tile(np.arange(len(starts)), len(statements))),
            "span_s": np.tile(np.array(spans, float), len(statements)),
            "fingerprint": np.repeat([s["fingerprint"] for s in statements], len(starts)),
            **{name: pd.Series(values, dtype=float) for name, values in parts.items()},
        }
    )
