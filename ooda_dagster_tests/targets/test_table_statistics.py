"""Are the facts about a table's statistics right, and do samples tell correlation and skew from chance?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster.core.catalogue import Table
from ooda_dagster.core.settings import Statistics
from ooda_dagster.core.statistics import correlated, kinds_for
from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.base import Observing, TargetError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database, wait_until

POLICY = Statistics()
KEY = ("public", "people")


@pytest.fixture(scope="module")
def people(target_server: Cluster) -> Iterator[Database]:
    """People whose zip code decides their city; their mood often goes with their hobby, and with nothing else."""
    database = Database(target_server, "test_table_statistics")
    database.create()
    database.execute(
        "create table people (id int primary key, city int not null, zip int not null, hobby int, mood int, "
        "skew int not null); "
        "insert into people select g, z / 10, z, (random() * 19)::int, (random() * 19)::int, "
        # 110 values of 400 rows, 60 of 100 rows each, the rest met once
        "case when g <= 44000 then g % 110 when g <= 50000 then 1000 + g % 60 else 10000 + g end "
        "from (select g, (g * 7919) % 1000 as z from generate_series(1, 100000) g) s; "
        "update people set mood = hobby where random() < 0.6; analyze people",
        dsn=database.app,
    )
    yield database
    database.drop()


@pytest.fixture
def session(people: Database) -> Iterator[Observing]:
    with PostgresTarget("people", people.observe, None).observing("test") as opened:
        yield opened


def table(session: Observing) -> Table:
    return session.catalogue({KEY}).tables[KEY]


def test_targets_extended_statistics_and_times_are_read(people: Database, session: Observing) -> None:
    people.execute(
        "alter table people alter column hobby set statistics 500; "
        "create statistics theirs (dependencies, mcv) on hobby, mood from people; "
        "alter table people set (autovacuum_analyze_threshold = 10, autovacuum_analyze_scale_factor = 0.5)",
        dsn=people.app,
    )
    try:
        kept = session.statistics([KEY, ("public", "nowhere")])[KEY]
    finally:
        people.execute(
            "alter table people alter column hobby set statistics -1; drop statistics theirs; "
            "alter table people reset (autovacuum_analyze_threshold, autovacuum_analyze_scale_factor)",
            dsn=people.app,
        )
    assert (kept.owner, kept.tracked, kept.default_target) == (APP_ROLE, True, 100)
    assert kept.targets == {"hobby": 500}
    assert kept.last_analyze is not None
    assert kept.autovacuum_rows == pytest.approx(10 + 0.5 * 100_000, rel=0.01)
    (theirs,) = kept.extended
    assert (theirs.name, theirs.columns, theirs.kinds) == ("theirs", {"hobby", "mood"}, {"f", "m"})
    assert theirs.tells(["mood", "hobby"])
    assert not theirs.tells(["mood", "city"])


def test_autovacuum_that_is_off_for_a_table_is_seen(people: Database, session: Observing) -> None:
    people.execute("alter table people set (autovacuum_enabled = off)", dsn=people.app)
    try:
        assert session.statistics([KEY])[KEY].autovacuum_rows is None
    finally:
        people.execute("alter table people reset (autovacuum_enabled)", dsn=people.app)


@pytest.mark.parametrize("command", ["analyze", "vacuum"])
def test_work_on_a_table_is_seen_while_it_lasts(people: Database, session: Observing, command: str) -> None:
    # Autovacuum may come, too.
    wait_until(lambda: not session.statistics([KEY])[KEY].at_work)
    with psycopg.connect(people.superuser, autocommit=True) as worker, ThreadPoolExecutor(1) as pool:
        worker.execute("set vacuum_cost_delay = 100; set vacuum_cost_limit = 1")
        running = pool.submit(worker.execute, trusted(f"{command} people"))
        try:
            wait_until(lambda: session.statistics([KEY])[KEY].at_work)
        finally:
            worker.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                running.result(timeout=30)
    wait_until(lambda: not session.statistics([KEY])[KEY].at_work)


def test_a_sample_tells_columns_that_decide_each_other_from_independent_ones(session: Observing) -> None:
    pairs = session.sample_pairs(table(session), ["city", "zip", "hobby"], POLICY)
    ratios = {(p.first, p.second): p.ratio for p in pairs}
    assert ratios["city", "zip"] == pytest.approx(100, rel=0.1)  # p(city) = 1/100: so much is multiplied in vain
    assert ratios["city", "hobby"] == pytest.approx(1, abs=0.15)
    assert ratios["zip", "hobby"] == pytest.approx(1, abs=0.3)
    columns, strong = correlated(pairs, POLICY.min_sample_ratio)
    assert columns == ["city", "zip"]
    assert strong[0].second_decides == 1.0
    assert strong[0].first_decides < 0.1
    assert kinds_for(strong) == ("ndistinct", "dependencies")


def test_columns_that_only_tend_to_go_together_get_their_common_pairs_kept(session: Observing) -> None:
    pairs = session.sample_pairs(table(session), ["hobby", "mood"], POLICY)
    columns, strong = correlated(pairs, POLICY.min_sample_ratio)
    assert columns == ["hobby", "mood"]
    assert kinds_for(strong) == ("ndistinct", "mcv")


def test_values_met_once_are_no_correlation(session: Observing) -> None:
    (pair,) = session.sample_pairs(table(session), ["id", "city"], POLICY)
    assert pair.ratio is None


def test_a_sample_tells_values_that_are_commoner_than_thought(session: Observing) -> None:
    seen = table(session)
    sample = session.sample_rare(seen, "skew", POLICY)
    ratio = sample.ratio(seen, "skew")
    assert ratio is not None
    assert ratio > 10
    even = session.sample_rare(seen, "zip", POLICY)  # 1,000 values alike: those that are not kept are as thought
    assert even.ratio(seen, "zip") == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("column", ["host", "code", "flag"])
def test_a_common_value_is_known_however_its_type_is_written(people: Database, session: Observing, column: str) -> None:
    """Of these types a cast to text is another text than the one in pg_stats."""
    people.execute(
        "create table typed (host inet, code char(10), flag bool); "
        "insert into typed select '10.0.0.0'::inet + g % 3, 'c' || g % 3, g % 2 = 0 from generate_series(1, 3000) g; "
        "analyze typed",
        dsn=people.app,
    )
    try:
        key = ("public", "typed")
        sample = session.sample_rare(session.catalogue({key}).tables[key], column, POLICY)
    finally:
        people.execute("drop table typed", dsn=people.app)
    assert sample.n == 3000
    assert (sample.share, sample.mates) == (0, 0)


def test_a_sample_reads_no_more_pages_than_allowed(people: Database, session: Observing) -> None:
    few = POLICY.model_copy(update={"sample_pages": 20})
    (pair,) = session.sample_pairs(table(session), ["city", "zip"], few)
    per_page = 100_000 / (table(session).bytes / 8192)
    assert 0 < pair.n < 60 * per_page


def test_a_sample_that_takes_too_long_is_given_up(session: Observing) -> None:
    hasty = POLICY.model_copy(update={"sample_timeout_s": 0.001, "sample_rows": 1_000_000, "sample_pages": 100_000})
    with pytest.raises(TargetError, match="sampling a table"):
        session.sample_pairs(table(session), ["city", "zip", "hobby", "mood"], hasty)
    assert session.planned_rows("select 1 from people where zip = 5") is not None  # the session goes on


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("select * from people where zip = 5", True),
        ("select * from people where zip = 5 order by hobby", True),
        ("select p.* from people p join people q on q.id = p.hobby where p.zip = 5", True),
        ("select count(*) from people where zip = 5", False),
        ("select distinct hobby from people where zip = 5", False),
        ("select * from people where zip = 5 limit 10", False),
        ("select hobby, count(*) from people group by 1 order by 2", False),
    ],
)
def test_rows_are_told_where_they_follow_from_the_conditions(session: Observing, text: str, told: bool) -> None:
    assert (session.planned_rows(text) is not None) == told
