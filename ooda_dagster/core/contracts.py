"""Who may send what to whom: the queues of the document, and the contract of each.

analyze ─ Analyze ─▶ observe ─ Observation ─▶ hypothesize ─ Hypotheses ─▶ decide ─ Decisions ─▶ act
   ▲                 (queue hypothesize)        (queue act)              (queue act)            │ ActionResults
   └──────────────────────────── LearningDelta ──────────── learn ◀────────────────────────────┘ (queue learn)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ooda_dagster.core.messages import (
    ActionResults,
    Analyze,
    Decisions,
    Hypotheses,
    LearningDelta,
    Message,
    Observation,
    Verdicts,
)


class Queue(StrEnum):
    """The four queues. `analyze` is the timer of the loop too: a target has one open request in it."""

    ANALYZE = "analyze"
    HYPOTHESIZE = "hypothesize"
    ACT = "act"
    LEARN = "learn"


class ContractError(TypeError):
    """A phase sent what it may not send. That is a mistake in the program: no other attempt mends it."""


@dataclass(frozen=True)
class Contract:
    """A message type: the asset that sends it, the queue it waits in, and the phase whose message it answers."""

    message: type[Message]
    sender: str
    queue: Queue | None = None
    answers: str | None = None


#: By phase. Analyze is sent by whoever wants a cycle: learning, a schedule, a sensor, a person.
CONTRACTS: dict[str, Contract] = {
    c.message.phase: c
    for c in (
        Contract(Analyze, "", Queue.ANALYZE),
        Contract(Observation, "observations", Queue.HYPOTHESIZE, Analyze.phase),
        Contract(Hypotheses, "hypotheses", Queue.ACT, Observation.phase),
        Contract(Decisions, "decisions", Queue.ACT, Hypotheses.phase),
        Contract(ActionResults, "action_results", Queue.LEARN, Decisions.phase),
        Contract(LearningDelta, "learning_deltas", None, ActionResults.phase),
        Contract(Verdicts, "verdicts"),
    )
}


def sent_by(sender: str) -> type[Message]:
    """The message type that an asset sends."""
    for contract in CONTRACTS.values():
        if contract.sender == sender:
            return contract.message
    raise ContractError(f"{sender} has no contract: it may send nothing")


def check_sender(sender: str, message: object) -> None:
    """Raise ContractError where `sender` may not send this message."""
    wanted = sent_by(sender)
    if type(message) is not wanted:
        raise ContractError(f"{sender} may send {wanted.__name__}, not {type(message).__name__}")
