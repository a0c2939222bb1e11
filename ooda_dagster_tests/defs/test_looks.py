"""Does a look at an open verdict start when it is due, once, and again if it failed?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ooda_dagster.core.wire import iso
from ooda_dagster.defs.schedules import ooda_due_looks
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, one, tick, unreachable

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Looks:
    """The schedule of looks, with a change set whose look is due at noon."""

    def __init__(self, ooda: Ooda, instance: dg.DagsterInstance) -> None:
        self.ooda, self.instance = ooda, instance
        ooda.loop(NAME)
        ooda.ledger.cycles.request(NAME, NOON + timedelta(hours=1), "later")
        begun = NOON - timedelta(minutes=5)
        self.change_set = ooda.ledger.verifications.begin(NAME, [], treated=["f"], bystanders=[], now=begun)
        ooda.ledger.verifications.update(self.change_set, acted_until=begun, next_look_at=NOON)

    def tick(self, at: datetime = NOON) -> list[dg.RunRequest] | str:
        return tick(ooda_due_looks, self.ooda, self.instance, at)

    def run(self, status: dg.DagsterRunStatus) -> None:
        """Let the daemon make a run of the due request."""
        tags = one(self.tick()).tags
        self.instance.add_run(dg.DagsterRun("ooda_verify", run_id=str(uuid.uuid4()), status=status, tags=tags))


@pytest.fixture
def looks(ledger: Ledger, instance: dg.DagsterInstance) -> Iterator[Looks]:
    ooda = Ooda(unreachable(ledger))
    yield Looks(ooda, instance)
    ooda.ledger.close()


def test_a_due_look_gets_one_request(looks: Looks) -> None:
    request = one(looks.tick())
    assert (request.partition_key, request.tags["ooda/target"]) == (NAME, NAME)


def test_a_look_is_not_started_before_its_time(looks: Looks) -> None:
    assert looks.tick(NOON - timedelta(minutes=1)) == "1 verdicts open, none to look at now"


def test_a_look_that_runs_is_not_doubled(looks: Looks) -> None:
    looks.run(dg.DagsterRunStatus.STARTED)
    assert isinstance(looks.tick(NOON + timedelta(minutes=1)), str)


def test_a_look_that_failed_is_tried_again_a_step_later(looks: Looks) -> None:
    looks.run(dg.DagsterRunStatus.FAILURE)
    later = NOON + timedelta(minutes=1)
    assert isinstance(looks.tick(later), str)
    step = timedelta(seconds=looks.ooda.config.targets[NAME].settings.verifying.look_every_s)
    assert looks.ooda.ledger.verifications.get(looks.change_set).next_look_at == later + step
    assert len(looks.tick(later + step)) == 1


def test_a_look_is_left_to_a_cycle_that_is_due_too(looks: Looks) -> None:
    looks.ooda.ledger.cycles.request(NAME, NOON, "now")
    assert looks.tick() == f"left to the cycle that is due, which looks itself: {NAME}"


def test_without_open_verdicts_no_run_starts(looks: Looks) -> None:
    looks.ooda.ledger.verifications.update(looks.change_set, open=False, closed_at=NOON, next_look_at=None)
    assert looks.tick() == "no verdict is open"


def test_a_gain_that_was_kept_is_looked_at_once_more_when_that_is_due(looks: Looks) -> None:
    day = NOON + timedelta(days=1)
    looks.ooda.ledger.verifications.update(looks.change_set, open=False, closed_at=NOON, next_look_at=day)
    looks.ooda.ledger.cycles.request(NAME, day + timedelta(hours=1), "later")
    assert looks.tick() == f"no verdict is open; a gain is looked at again at {iso(day)}"
    assert one(looks.tick(day)).partition_key == NAME
