"""Evidence of one action, put together from what the ledger remembers; core/evidence_file.py says what a file is."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from ooda_dagster import __version__
from ooda_dagster.core.before_after import before_after
from ooda_dagster.core.chain import JOURNAL_FIELDS, journal_chain
from ooda_dagster.core.evidence_file import sealed
from ooda_dagster.core.journal import State
from ooda_dagster.core.question import code_digest, moment
from ooda_dagster.core.redact import readable, without_literals
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.settings_changes import told
from ooda_dagster.core.text import cut
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.verifications import look_of
from ooda_dagster.loop.verdict_bar import EVENT as BAR

Row = Mapping[str, Any]


def evidence_of(ledger: Ledger, action: Action, settings: Settings | None, now: datetime) -> dict[str, Any]:
    """The document of an action as it stands now. settings: the target's, None where it is configured no more."""
    journal = [_journal_row(row) for row in ledger.actions.history(action.action_id)]
    looks = ledger.verifications.looks(action.change_set_id) if action.change_set_id else []
    look = look_of(action, looks)
    judged = ledger.evidence.judged(look["change_set_id"], look["look"]) if look else None
    return sealed(
        {
            "made_by": {
                "package": "ooda-dagster",
                "version": __version__,
                "verdict_code": code_digest(),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "pandas": pd.__version__,
                "exported_at": moment(now),
            },
            "target": _target(ledger, action.target),
            "action": _action(action),
            "why": _why(ledger, action),
            "allowed_by": _allowed_by(ledger, action, journal),
            "journal": {"chain": journal_chain(action.target), "rows": journal},
            "looks": [_look(row) for row in looks],
            "change_set": _change_set(ledger, action, journal),
            "verdict": _verdict(action, look) if look else None,
            "judged": judged,
            "before_after": _before_after(ledger, action.target, judged) if judged else [],
            "settings": _settings(ledger, action, settings, judged),
        }
    )


def _journal_row(row: Row) -> dict[str, Any]:
    kept = {name: row[name] for name in (*JOURNAL_FIELDS, "position", "prev_hash", "hash")}
    return {**kept, "at": moment(row["at"]), "detail": without_literals(row["detail"])}


def _target(ledger: Ledger, name: str) -> dict[str, Any]:
    known = ledger.cycles.registered(name) or {}
    version = (known.get("identity") or {}).get("server_version")
    told_version = f"{version // 10_000}.{version % 10_000}" if isinstance(version, int) else None
    return {"name": name, "kind": known.get("kind"), "server_version": told_version}


def _action(action: Action) -> dict[str, Any]:
    return {
        "action_id": action.action_id,
        "type": action.action_type,
        "description": action.description,
        "state": str(action.state),
        "relation": action.relation,
        "object": action.object_name,
        "priority": action.priority,
        "risk": action.risk,
        "dangerous": action.dangerous,
        "statements": readable(action.statements),
        "undo": readable(action.undo),
        "undo_kind": action.undo_kind,
        "no_undo": action.prior_state.get("no_undo") or action.spec.get("no_undo") or None,
        "statements_hash": action.statements_hash,
        "duration_ms": action.duration_ms,
        "lock_wait_ms": action.lock_wait_ms,
        "revert_reason": action.revert_reason,
        "error": action.error,
    }


def _why(ledger: Ledger, action: Action) -> dict[str, Any]:
    """The hypothesis, and what was predicted. A person's proposal has none."""
    found = ledger.hypotheses.get(action.hypothesis_id) if action.hypothesis_id else None
    predicted = {name: value for name, value in action.predicted.items() if name != "backend"}
    return {
        "proposed_by": action.proposed_by,
        "proposed_at": moment(action.proposed_at),
        "analysis_id": action.analysis_id,
        "priority": action.priority,
        "rung": action.predicted.get("backend"),
        "predicted": predicted,
        "hypothesis": found
        and {
            "hypothesis_id": found.hypothesis_id,
            "type": found.hypothesis_type,
            "description": found.description,
            "priority": found.priority,
            "expected_impact": found.expected_impact,
            "serves": [served.model_dump(mode="json") for served in found.serves],
            "evidence": {name: value for name, value in found.evidence.items() if name != "spec"},
        },
    }


def _allowed_by(ledger: Ledger, action: Action, journal: Sequence[Row]) -> dict[str, Any]:
    """Who approved it, by which rule, and in which mode the target was then."""
    approved = next((row for row in reversed(journal) if row["to_state"] == State.APPROVED), None)
    at = datetime.fromisoformat(approved["at"]) if approved else None
    modes = ledger.trail.events(action.target, events=("mode",), until=at, limit=1) if at else []
    return {
        "approver": approved["actor"] if approved else None,
        "rule": approved["reason"] if approved else None,
        "mode": modes[-1].detail.get("after") if modes else None,
        "at": approved["at"] if approved else None,
        "journal_row": approved["position"] if approved else None,
        "approved_hash": action.approved_hash,
        "rule_now": action.rule,
    }


def _look(row: Row) -> dict[str, Any]:
    low, high = row["ratio_low"], row["ratio_high"]
    return {
        "look": row["look"],
        "at": moment(row["looked_at"]),
        "outcome": row["outcome"],
        "ratio": row["ratio"],
        "interval": None if low is None else [low, high],
        "reason": row["reason"],
        "n": row["n"],
        "final": row["final"],
    }


def _verdict(action: Action, look: Row) -> dict[str, Any]:
    return {**_look(look), "outcome_class": action.outcome_class, "evidence": look["evidence"]}


def _change_set(ledger: Ledger, action: Action, journal: Sequence[Row]) -> dict[str, Any] | None:
    """What was judged together, and how each was used when this verdict was given."""
    if action.change_set_id is None:
        return None
    found = ledger.verifications.get(action.change_set_id)
    told_rows = [row for row in journal if "judged_sha256" in row["detail"].get("evidence", {})]
    return {
        "change_set_id": found.change_set_id,
        "acted_from": moment(found.acted_from),
        "acted_until": moment(found.acted_until) if found.acted_until else None,
        "reaches": found.treated,
        "beside": found.bystanders,
        "open": found.open,
        "use": told_rows[-1]["detail"]["evidence"].get("use") if told_rows else None,
        "actions": [
            {
                "action_id": a.action_id,
                "description": a.description,
                "state": str(a.state),
                "outcome": a.outcome,
                "ratio": a.ratio,
                "why": a.revert_reason or a.verdict_reason or a.error,
            }
            for a in ledger.actions.list(action.target, change_set_id=action.change_set_id)
        ],
    }


def _before_after(ledger: Ledger, target: str, judged: Row) -> list[dict[str, Any]]:
    rows = before_after(judged)
    known = ledger.rollups.statements(target, [row["fingerprint"] for row in rows]).set_index("fingerprint")["text"]
    return [{**row, "text": cut(known.get(row["fingerprint"], ""))} for row in rows]


def _settings(ledger: Ledger, action: Action, settings: Settings | None, judged: Row | None) -> dict[str, Any]:
    """Settings as they are now; those that the verdict used are in `judged`. bar: where it was raised, by what."""
    until = datetime.fromisoformat(judged["judged_at"]) if judged else None
    bars = ledger.trail.events(action.target, events=(BAR,), until=until, limit=1)
    return {
        "now": told(settings) if settings else None,
        "bar": {"at": moment(bars[-1].at), "by": bars[-1].actor, "hash": bars[-1].hash, **bars[-1].detail}
        if bars
        else None,
    }
