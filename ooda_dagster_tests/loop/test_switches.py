"""Do switches, windows and lists stop what is new - and never the review of what is live?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.actions.executor import Executor
from ooda_dagster.config.servers import ACT_ROLE
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.embedded import Cluster
from ooda_dagster.loop.act import act
from ooda_dagster.loop.alerts import watch
from ooda_dagster.loop.by_hand import approve_action, propose
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.learn import learn
from ooda_dagster.loop.verify import verify
from ooda_dagster.targets.base import RefusedError
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, ON_STATUS, Stage
from ooda_dagster_tests.loop.ground import no_results, nothing_decided, turn, with_settings
from ooda_dagster_tests.loop.told_history import history, judged, used
from ooda_dagster_tests.support import Database

NO_LOGIN = f"the acting role {ACT_ROLE} may not log in"


def with_acting(stage: Stage, **acting: Any) -> Stage:
    return replace(stage, loop=with_settings(stage.loop, acting=acting))


def closed_for(stage: Stage, hours: int) -> str:
    """A window that opens in so many hours, and is an hour long."""
    opens = stage.loop.clock() + timedelta(hours=hours)
    return f"{opens:%H}:00-{opens + timedelta(hours=1):%H}:00"


@contextmanager
def switched_off(database: Database) -> Iterator[Callable[[], int]]:
    """ALTER ROLE NOLOGIN, by a DBA who knows nothing of us; gives the failed logins in the server's log so far."""
    log = database.cluster.log_file
    before = log.stat().st_size

    def attempts() -> int:
        return log.read_bytes()[before:].count(b"is not permitted to log in")

    database.execute(f"alter role {ACT_ROLE} nologin")
    try:
        yield attempts
    finally:
        database.execute(f"alter role {ACT_ROLE} login")


#: How somebody stops the loop.
def _off(stage: Stage) -> Stage:
    return with_acting(stage, enabled=False)


def _paused(stage: Stage) -> Stage:
    stage.ledger.cycles.pause(stage.loop.name, stage.loop.clock())
    return stage


def _outside(stage: Stage) -> Stage:
    return with_acting(stage, windows=[closed_for(stage, 3)])


def _denied(stage: Stage) -> Stage:
    return with_acting(stage, deny=["table:orders"])


STOPS: dict[Callable[[Stage], Stage], tuple[str, str]] = {
    _off: ("switched off: no new action", "acting.enabled"),
    _paused: ("paused: no new action", "ooda resume"),
    _outside: ("outside the maintenance windows", "the next one opens at"),
    _denied: ("denied by 'table:orders'", "acting.deny"),
}


@pytest.mark.parametrize("stop", STOPS)
def test_what_a_person_approved_waits_for_the_switch_and_says_so(stage: Stage, stop: Callable[[Stage], Stage]) -> None:
    action, (rule, remedy) = stage.approved(), STOPS[stop]
    stopped = stop(stage)
    (result,) = act(stopped.loop, nothing_decided(stopped.loop)).results
    held = stage.now(action)
    assert (held.state, held.rule, held.approved_hash) == (State.APPROVED, rule, held.statements_hash)
    assert remedy in str(held.remedy)
    assert result.note == f"{rule} ({held.remedy})"
    assert ON_CUSTOMER.name not in stage.database.indexes()

    stage.ledger.cycles.resume(stage.loop.name)
    act(stage.loop, nothing_decided(stage.loop))
    done = stage.now(action)
    assert (done.state, done.rule, done.remedy) == (State.VERIFYING, "approved by ann", "")


@pytest.mark.parametrize("stop", STOPS)
def test_a_harmful_index_is_undone_though_acting_is_switched_off_meanwhile(
    stage: Stage, stop: Callable[[Stage], Stage]
) -> None:
    """Anchors capability 13: off stops new actions, and goes on to review and revert live ones."""
    before = stage.definitions()
    action = stage.built()
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    (ended,) = verify(stop(stage).loop)
    assert (ended.state, ended.outcome) == (State.REVERTED, Outcome.WORSE)
    assert stage.definitions() == before


@pytest.mark.parametrize("stop", STOPS)
def test_the_switch_is_looked_at_again_right_before_the_deed(stage: Stage, stop: Callable[[Stage], Stage]) -> None:
    """Past everything that a cycle asked before: guards may wait, and builds before it may take hours."""
    action = stage.approved()
    stopped = stop(stage)
    outcome = stopped.apply(action)
    assert outcome.action.state == State.APPROVED
    assert outcome.note.startswith(STOPS[stop][0])
    assert stage.moves(action) == ["proposed", "approved"]


def test_a_pause_during_a_build_keeps_the_next_one_from_beginning(stage: Stage) -> None:
    first, second = stage.approved(ON_CUSTOMER), stage.approved(ON_STATUS)

    def pause(line: str) -> None:
        stage.ledger.cycles.pause(stage.loop.name, stage.loop.clock())

    done = Executor(stage.loop.target, stage.ledger, stage.loop.settings, actor="ann", say=pause)
    outcomes = done.apply([first, second])
    assert [o.action.state for o in outcomes] == [State.VERIFYING, State.APPROVED]
    assert outcomes[1].note == "paused: no new action (ooda resume)"


def test_a_build_that_would_likely_outlast_the_window_is_not_begun(stage: Stage) -> None:
    now = stage.loop.clock()
    window = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(minutes=30):%H:%M}"
    open_now = with_acting(stage, windows=[window])
    first = stage.built()
    stage.ledger.actions.note(first.action_id, predicted={"bytes": 1 << 20}, duration_ms=3_600_000.0)
    proposal = propose_index(ON_STATUS, predicted={"bytes": 1 << 20})
    action = stage.ledger.actions.propose(stage.loop.name, proposal, by="ann", now=now)
    approved = approve_action(stage.loop, action, by="ann")
    outcome = open_now.apply(approved)
    assert outcome.action.state == State.APPROVED
    assert "it would likely take 60 min, and the maintenance window closes at" in outcome.note
    stage.ledger.actions.note(first.action_id, duration_ms=60_000.0)
    assert open_now.apply(approved).done


def test_a_window_of_another_time_zone_is_read_there(stage: Stage) -> None:
    there = stage.loop.clock() + timedelta(hours=5, minutes=30)  # India has no other time all year
    local = f"{there - timedelta(hours=1):%H:%M}-{there + timedelta(hours=1):%H:%M}"
    assert with_acting(stage, windows=[f"{local} Asia/Kolkata"]).apply(stage.approved()).done
    refused = with_acting(stage, windows=[local]).apply(stage.approved(ON_STATUS))
    assert refused.note.startswith("outside the maintenance windows")


def test_policy_proposes_outside_the_windows_and_the_next_cycle_is_due_when_one_opens(
    shop: Callable[..., Loop],
) -> None:
    loop = shop(Mode.AUTO)
    opens = loop.clock() + timedelta(minutes=6)
    window = f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"
    loop = with_settings(loop, acting={"windows": [window]})
    ran = turn(loop)
    (decision,) = ran.decisions.decisions
    assert (decision.state, decision.rule) == (State.PROPOSED, "outside the maintenance windows")
    assert ran.delta.next_due_reason == "a maintenance window opens"
    assert timedelta() < ran.delta.next_due_at - loop.clock() <= timedelta(minutes=6)
    assert ran.delta.delay_minutes <= 6
    during = replace(loop, clock=lambda: opens + timedelta(minutes=1))
    assert act(during, nothing_decided(during)).executed_actions == 0  # nobody approved it
    assert learn(with_settings(loop, acting={"windows": []}), no_results(loop)).next_due_reason != decision.rule


@pytest.mark.slow
def test_policy_s_approval_of_an_earlier_cycle_waits_where_the_rules_say_not_now(
    shop: Callable[..., Loop], busy: Database
) -> None:
    loop = shop(Mode.AUTO, acting={"max_disk_share": 0.0001, "unknown_disk_max_share": 0})
    ran = turn(loop)  # approved, and no room on the disk
    (approved,) = loop.ledger.actions.list(loop.name, states=(State.APPROVED,))
    assert ran.results.executed_actions == 0
    loop.ledger.actions.note(approved.action_id, applying_at=loop.clock())  # as if the hour's one had been begun
    spent = with_settings(loop, acting={"max_actions_per_hour": 1, "max_disk_share": 1, "unknown_disk_max_share": 1})
    again = turn(spent)
    assert again.decisions.decisions[0].held
    held = loop.ledger.actions.get(approved.action_id)
    assert (held.state, held.rule) == (State.APPROVED, "1 actions in an hour already")
    assert list(busy.indexes()) == ["orders_pkey"]


def test_a_person_s_proposal_on_a_denied_table_is_refused_by_name(stage: Stage) -> None:
    for acting, words in (
        ({"deny": ["schema:public"]}, r"denied by 'schema:public' \(acting.deny\)"),
        ({"allow": ["table:items"]}, r"not among what is allowed: 'table:items' \(acting.allow\)"),
        ({"protected": ["orders"]}, r"is protected by 'orders' \(acting.protected\)"),
    ):
        with pytest.raises(RefusedError, match=words):
            propose(with_acting(stage, **acting).loop, "create index on orders (customer)", by="ann")
    assert stage.ledger.actions.list(stage.loop.name) == []


# ---------------------------------------------------------------- the role that may not log in


def test_a_role_that_may_not_log_in_stops_nothing_but_the_deed(stage: Stage) -> None:
    """Whole cycles: not failed, one attempt each at most, one warning, and all goes on when the role may again."""
    action, ledger, name = stage.approved(), stage.ledger, stage.loop.name
    with switched_off(stage.database) as attempts:
        for _ in range(3):
            ran = turn(stage.loop)
            (result,) = ran.results.results
            assert (result.state, result.action_status) == (State.APPROVED, "Pending")
            assert result.note.startswith(f"{NO_LOGIN} (")
            found = [a.text for a in ledger.alerts.news(stage.loop.clock(), name)] + list(
                watch(ledger, [name], stage.loop.clock()).raised
            )
            assert [text for text in found if NO_LOGIN in text] == [
                f"{name}: {NO_LOGIN}: nothing is begun or undone, 1 approved actions wait. Remedy: none where that is "
                f"meant; else let it log in again (`ooda doctor --target {name}`)"
            ]
        assert attempts() <= 3
        held = stage.now(action)
        assert (held.state, held.rule) == (State.APPROVED, NO_LOGIN)
        assert f"ALTER ROLE {ACT_ROLE} LOGIN" in str(held.remedy)
    ran = turn(stage.loop)
    assert stage.now(action).state == State.VERIFYING
    watch(ledger, [name], stage.loop.clock())
    assert not [a for a in ledger.alerts.news(stage.loop.clock(), name) if a.kind == "acting_barred"]


def test_an_undo_that_the_role_cannot_do_is_noted_and_tried_again(stage: Stage) -> None:
    before = stage.definitions()
    action = stage.built()
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    with switched_off(stage.database) as attempts:
        assert verify(stage.loop) == []
        assert verify(stage.loop, at_once=True) == []
        assert attempts() == 0
        waiting = stage.now(action)
        assert (waiting.state, waiting.outcome) == (State.VERIFYING, Outcome.WORSE)
        assert waiting.rule == f"its undo waits: {NO_LOGIN}"
        assert State.REVERT_FAILED not in stage.moves(action)
        (opened,) = stage.ledger.verifications.open(stage.loop.name)
        assert opened.next_look_at is not None
    (ended,) = verify(stage.loop, at_once=True)
    assert ended.state == State.REVERTED
    assert stage.definitions() == before


@pytest.mark.slow
def test_a_login_that_is_refused_otherwise_is_tried_once_a_cycle(stage: Stage, target_server: Cluster) -> None:
    """A changed password, say: the catalogue does not tell, so it is tried; two change sets wait for it."""
    from ooda_dagster.targets.postgres import PostgresTarget

    stage.database.execute("create table items (id int primary key, n int)", dsn=stage.database.app)
    stage.approved()
    dsn = target_server.dsn(stage.database.name, user=ACT_ROLE, password="wrong")
    target = PostgresTarget(stage.loop.name, stage.database.observe, dsn)
    broken = replace(stage, loop=replace(stage.loop, target=target))
    stage.approved(IndexSpec.on("public", "items", "n"))
    log, attempts = stage.database.cluster.log_file, list[int]()
    for _ in range(3):
        size = log.stat().st_size
        results = turn(broken.loop).results.results
        attempts.append(log.read_bytes()[size:].count(b"password authentication failed"))
        assert {r.state for r in results} == {State.APPROVED}
        assert all("wrong password" in r.note for r in results), [r.note for r in results]
    assert attempts == [1, 1, 1]
    turn(stage.loop)
    assert (stage.ledger.cycles.registered(stage.loop.name) or {})["barred"] is None
    assert {a.state for a in stage.ledger.actions.list(stage.loop.name)} == {State.VERIFYING}
