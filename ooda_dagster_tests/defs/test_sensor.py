"""Does a sample's tick fill the rollups of every target it has time for, and start no run?"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.defs.sensors.sample_statements import make_sample_statements
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, config_of, tick_sensor
from ooda_dagster_tests.support import Database, make_orders, work

NOWHERE = Reference.literal("postgresql://nobody@127.0.0.1:1/none")


class Sampling:
    """The sensor, ticked by hand."""

    def __init__(self, ooda: Ooda, instance: dg.DagsterInstance) -> None:
        self.ooda, self.instance = ooda, instance
        self.sensor = make_sample_statements()

    def add(self, name: str, observe: Reference) -> None:
        base = self.ooda.config.targets[NAME]
        added = TargetConfig(name, observe, settings=base.settings)
        self.ooda.config = Config(self.ooda.config.ledger, {**self.ooda.config.targets, name: added})

    def tick(self) -> dg.SensorExecutionData:
        return tick_sensor(self.sensor, self.ooda, self.instance)


@pytest.fixture
def sampling(database: Database, ledger: Ledger, instance: dg.DagsterInstance) -> Iterator[Sampling]:
    ooda = Ooda(config_of(database, ledger))
    yield Sampling(ooda, instance)
    ooda.ledger.close()


def test_two_ticks_fill_the_rollups_and_start_no_run(sampling: Sampling, database: Database, ledger: Ledger) -> None:
    make_orders(database, 1000)
    began = utc_now()
    first = sampling.tick()
    assert first.skip_message == f"{NAME}: first sample"
    work(database, calls=7)
    second = sampling.tick()
    assert not first.run_requests
    assert not second.run_requests
    totals = ledger.rollups.totals(NAME, began, utc_now())
    assert totals.set_index("text")["n"].filter(like="from orders where customer").tolist() == [7]
    assert sampling.instance.get_runs_count() == 0
    assert sampling.instance.get_dynamic_partitions("ooda_targets") == [NAME]


def test_a_dead_target_is_named_and_the_others_are_sampled(sampling: Sampling) -> None:
    sampling.add("dead", NOWHERE)
    sampling.add("unset", Reference("env", "OODA_TEST_NOT_SET"))
    words = (sampling.tick().skip_message or "").split("; ")
    assert words[0].startswith("dead: ")
    assert "127.0.0.1" in words[0]
    assert f"{NAME}: first sample" in words
    assert any(w.startswith("unset: the environment variable OODA_TEST_NOT_SET is not set") for w in words)


def test_a_dead_target_is_asked_more_rarely_than_the_others(sampling: Sampling) -> None:
    sampling.add("dead", NOWHERE)
    sampling.tick()
    second = (sampling.tick().skip_message or "").split("; ")
    assert any("asked again in" in words for words in second)
    assert any(words.startswith(f"{NAME}: 0 calls of 0 statements") for words in second)
