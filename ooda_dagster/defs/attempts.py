"""What becomes of a phase that fails? Another try in the run, another run later, or the dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
from pydantic import ValidationError

from ooda_dagster.config import ConfigError
from ooda_dagster.core.contracts import ContractError
from ooda_dagster.core.errors import one_line, silenced
from ooda_dagster.core.messages import Message
from ooda_dagster.ledger import Cycle
from ooda_dagster.ledger.conversations import APPROVAL
from ooda_dagster.loop import cycle
from ooda_dagster.loop.context import Loop

#: What no other attempt mends.
_PERMANENT = (ValidationError, ContractError, ConfigError)
#: Who looks at the outcome tries again as they see fit; what runs by itself does it once by itself.
_BY_ITSELF = ("schedule", "alarm", "request", APPROVAL)


@contextmanager
def attempt(
    context: dg.AssetExecutionContext, loop: Loop, begun: Cycle | None, received: type[Message]
) -> Iterator[None]:
    """Around the work on a received message. Outside a cycle (a replay) errors pass as they are."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        _silence(error)
        if begun is None:
            raise
        why = reason(error)
        messages, policy = loop.ledger.messages, loop.settings.messages
        tried = messages.attempts(received, begun.analysis_id)
        if isinstance(error, _PERMANENT) or tried >= policy.max_attempts:
            messages.bury(received, begun.analysis_id, why, now=loop.clock())
            which = "no other attempt can mend it" if tried < policy.max_attempts else f"attempt {tried} was the last"
            raise dg.Failure(
                f"{why} ({which}; `ooda queues list` shows the dead letter)", allow_retries=False
            ) from error
        if context.run.tags.get("ooda/trigger") in _BY_ITSELF and context.op_execution_context.retry_number == 0:
            raise dg.RetryRequested(max_retries=1, seconds_to_wait=policy.retry_s) from error
        cycle.interrupt(loop, begun.analysis_id, why)
        raise


def _silence(error: BaseException | None) -> None:
    """Dagster keeps the text of an error and of all that it was raised from; a driver's own text quotes rows."""
    while error is not None:
        if isinstance(error, psycopg.Error):
            silenced(error)
        error = error.__cause__ or error.__context__


def reason(error: Exception) -> str:
    """Why a phase failed, in one line. Of a message that cannot be read its first mistake is told, without values."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"the message cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return one_line(error)
