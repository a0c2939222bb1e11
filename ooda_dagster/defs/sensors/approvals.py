"""Carries out what people approved, soon after they did. It approves nothing, and neither does the run it starts."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from ooda_dagster.defs.jobs import APPROVED_JOB
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.conversations import APPROVAL
from ooda_dagster.loop.approved import approved_by_people, holds
from ooda_dagster.loop.ooda import Ooda


@dg.sensor(
    name="ooda_approvals",
    job_name=APPROVED_JOB,
    minimum_interval_seconds=10,
    default_status=sensor_status(),
    description="Starts ooda_act_approved for each target with actions that people approved.",
)
def ooda_approvals(
    context: dg.SensorEvaluationContext, ooda: dg.ResourceParam[Ooda]
) -> list[dg.RunRequest] | dg.SkipReason:
    ensure(context.instance, ooda.config.targets)
    requests: list[dg.RunRequest] = []
    words: list[str] = []
    for name, actions in _by_target(ooda).items():
        if why := _waits(ooda, name):
            words.append(f"{name}: {len(actions)} approved; {why}")
        else:
            requests.append(_request(ooda, name, actions))
    return requests or dg.SkipReason("; ".join(words) or "nothing is approved that waits")


def _by_target(ooda: Ooda) -> dict[str, list[Action]]:
    """What people approved, of the configured targets, in one query for all."""
    found: dict[str, list[Action]] = {}
    for action in approved_by_people(ooda.ledger):
        if action.target in ooda.config.targets:
            found.setdefault(action.target, []).append(action)
    return found


def _waits(ooda: Ooda, name: str) -> str:
    """Why nothing is started for a target now; nothing where it may be."""
    settings = ooda.config.targets[name].settings
    if not settings.mode.acts:
        return f"mode {settings.mode} does not act"
    if why := holds(ooda.ledger, name, settings, datetime.now(UTC)):
        return why
    if running := ooda.ledger.cycles.running(name):
        return f"analysis {running.analysis_id} runs, which carries them out if it comes to it"
    return ""


def _request(ooda: Ooda, name: str, actions: Sequence[Action]) -> dg.RunRequest:
    """A run for these approvals, once: what must wait then is the next cycle's."""
    ids = sorted(f"{a.action_id}@{a.decided_at}" for a in actions)
    key = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    mode = str(ooda.config.targets[name].settings.mode)
    return dg.RunRequest(
        run_key=f"{name}:{key}",
        partition_key=name,
        tags={"ooda/target": name, "ooda/trigger": APPROVAL, "ooda/mode": mode},
    )
