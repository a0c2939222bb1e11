"""What does the intake make of another server, a restored backup, and rows that are deleted?"""

from __future__ import annotations

from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.requests import Service


def test_another_server_behind_the_name_begins_anew_by_name(service: Service) -> None:
    service.done(*range(1, 11))
    assert service.rows() == 10
    ask(
        service.loop.ledger,
        "update ooda.request_progress set identity = jsonb_set(identity, '{system_identifier}', '\"7\"'), mark = 99999 "
        f"where target = '{service.loop.name}'",
    )
    taken = service.read()
    assert (taken.rows, taken.notes) == (
        10,
        ["the server, database or table is another one: the lookback is read anew"],
    )
    assert service.rolled_up == 10  # what is read again is not there twice
    assert service.rows() == 0


def test_after_a_restore_the_table_is_what_counts(service: Service) -> None:
    """A restored server gives ids again that were consumed before."""
    service.done(*range(1, 101))
    assert service.rows() == 100
    service.run("delete from inference_requests where inference_id > 50")
    service.done(51, 52)
    later = "jsonb_set(identity, '{started_at}', '\"2020-01-01T00:00:00+00:00\"')"
    ask(
        service.loop.ledger, f"update ooda.request_progress set identity = {later} where target = '{service.loop.name}'"
    )
    taken = service.read()
    assert taken.rows == 52
    assert "a backup was restored" in taken.notes[0]
    assert service.rolled_up == 52
    assert service.rows() == 0


def test_newest_rows_that_are_deleted_stay_counted_and_nothing_is_counted_again(service: Service) -> None:
    """As where done rows move to an archive."""
    service.done(*range(1, 101))
    assert service.rows() == 100
    service.run("delete from inference_requests where inference_id > 50")
    assert service.rows() == 0
    service.done(101, 102)
    assert [service.rows(), service.rows()] == [2, 0]
    assert service.rolled_up == 102


def test_a_table_that_was_emptied_begins_anew(service: Service) -> None:
    service.done(*range(1, 101))
    assert service.rows() == 100
    service.run("truncate inference_requests")
    service.done(*range(1, 11))
    assert service.rows() == 10
    service.run("truncate inference_requests")
    assert service.rows() == 0
    service.done(*range(1, 21))
    assert [service.rows(), service.rows()] == [20, 0]


def test_a_restart_of_the_server_changes_nothing(service: Service) -> None:
    service.done(1, 2, 3)
    assert service.rows() == 3
    service.database.execute("checkpoint")
    service.database.execute("vacuum freeze inference_requests")
    assert service.rows() == 0
