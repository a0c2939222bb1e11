"""What does a person see of what was done?"""

from __future__ import annotations

from typing import Any

from ooda_dagster.core.messages import ActionResults
from ooda_dagster.core.text import cut, many
from ooda_dagster.defs.metadata.tables import number, sql, table


def describe_results(message: ActionResults) -> dict[str, Any]:
    """The statements with their undo, how long they took and waited, and where the journal tells of them."""
    done = [r for r in message.results if r.action_status == "Executed"]
    waits = [r.lock_wait_ms for r in done if r.lock_wait_ms is not None]
    rows = [
        {
            "action": r.action_id[:8],
            "state": str(r.state),
            "sql": sql(r.executed_actions) or r.description,
            "undo": sql(r.undo),
            "lock_wait_ms": r.lock_wait_ms,
            "duration_s": r.execution_time_ms / 1000,
            "journal_id": r.journal_seq,
            "note": cut(r.error_message or r.note, 300),
        }
        for r in message.results
    ]
    return {
        "summary": _summary(message),
        "executed": message.executed_actions,
        "queued": message.queued_actions,
        "failed": message.failed_actions,
        "duration_s": number(sum(r.execution_time_ms for r in done) / 1000 if done else None, "nothing was done"),
        "lock_wait_ms": number(max(waits, default=None), "nothing waited for a lock"),
        "actions": table(rows, "none"),
        "mode": str(message.mode),
    }


def _summary(message: ActionResults) -> str:
    words = []
    if message.executed_actions:
        words.append(f"{many(message.executed_actions, 'action was', 'actions were')} carried out")
    if message.failed_actions:
        words.append(f"{message.failed_actions} failed")
    if message.queued_actions:
        waits = many(message.queued_actions, "action waits", "actions wait")
        words.append(f"{waits} for a person (`ooda approvals list`)")
    if words:
        return "; ".join(words) + "."
    if not message.results:
        return "Nothing was done: nothing was decided."
    if message.mode.acts:
        note = next((r.note for r in message.results if r.note), "none may act now")
        return cut(f"Nothing was done: {note}", 500)
    return f"Nothing was done: mode {message.mode} does not act."
