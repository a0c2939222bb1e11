"""Are change sets bound, looked at and closed as the verdict goes, and is who did what kept?"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy.exc

from ooda_dagster.core.verdict import Outcome, Verdict
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.store import os_user
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask, proposal, register


def begin(ledger: Ledger, *identities: str, now: Any = NOW, target: str = "t") -> str:
    ids = [ledger.actions.propose(target, proposal(i), by="loop", now=now).action_id for i in identities]
    return ledger.verifications.begin(target, ids, treated=["s2", "s1", "s1"], bystanders=["s3"], now=now)


def test_actions_that_begin_together_are_bound_together(known: Ledger) -> None:
    one, two = begin(known, "i1", "i2"), begin(known, "i3")
    assert {a.identity for a in known.actions.list("t", change_set_id=one)} == {"i1", "i2"}
    assert {a.identity for a in known.actions.list("t", change_set_id=two)} == {"i3"}


def test_a_change_set_is_open_until_it_is_closed(known: Ledger) -> None:
    one = begin(known, "i1")
    (found,) = known.verifications.open("t")
    assert (found.change_set_id, found.treated, found.bystanders, found.looks) == (one, ["s1", "s2"], ["s3"], 0)
    known.verifications.update(one, open=False, closed_at=NOW + MINUTE)
    assert known.verifications.open("t") == []
    assert known.verifications.get(one).closed_at == NOW + MINUTE


def test_open_change_sets_of_all_targets_are_told_oldest_first(known: Ledger) -> None:
    register(known, "u")
    late, early = begin(known, "i1", now=NOW + MINUTE), begin(known, "i1", target="u")
    assert [v.change_set_id for v in known.verifications.open()] == [early, late]


def test_what_was_open_at_a_moment_is_found_though_it_closed_since(known: Ledger) -> None:
    old, recent, still = (begin(known, f"i{n}") for n in range(3))
    known.verifications.update(old, open=False, closed_at=NOW)
    known.verifications.update(recent, open=False, closed_at=NOW + 2 * MINUTE)
    found = {v.change_set_id for v in known.verifications.since("t", NOW + MINUTE)}
    assert found == {recent, still}


def test_times_of_builds_and_of_undoing_are_told(known: Ledger) -> None:
    one = begin(known, "i1")
    known.verifications.update(one, acted_until=NOW + MINUTE)
    (action,) = known.actions.list("t")
    known.actions.note(action.action_id, closed_at=NOW + 5 * MINUTE, reverted_at=NOW + 6 * MINUTE)
    begin(known, "i2")  # still building
    assert known.verifications.builds("t", NOW) == [(NOW, NOW + MINUTE), (NOW + 5 * MINUTE, NOW + 6 * MINUTE)]
    assert known.verifications.builds("t", NOW + 9 * MINUTE) == []


def test_every_look_is_kept_with_what_it_said(known: Ledger) -> None:
    one = begin(known, "i1")
    for look, final in ((1, False), (2, True)):
        said = Verdict(Outcome.BETTER, 0.4, (0.3, 0.5), "faster", {"calls_after": 10 * look}, {"rho": 0.1})
        known.verifications.record(one, "t", look, NOW + look * MINUTE, said, final=final)
    looks = known.verifications.looks(one)
    assert [(r["look"], r["final"], r["n"]["calls_after"]) for r in looks] == [(1, False, 10), (2, True, 20)]
    assert (looks[0]["outcome"], looks[0]["ratio"], looks[0]["ratio_low"], looks[0]["ratio_high"]) == (
        "better", 0.4, 0.3, 0.5,
    )  # fmt: skip
    assert looks[0]["evidence"] == {"rho": 0.1}


def test_a_look_without_a_ratio_is_kept_too(known: Ledger) -> None:
    one = begin(known, "i1")
    known.verifications.record(
        one, "t", 1, NOW, Verdict(Outcome.INCONCLUSIVE, None, None, "too few calls"), final=False
    )
    (row,) = known.verifications.looks(one)
    assert (row["ratio"], row["ratio_low"], row["reason"]) == (None, None, "too few calls")


def test_a_look_is_recorded_once(known: Ledger) -> None:
    one = begin(known, "i1")
    said = Verdict(Outcome.INCONCLUSIVE, None, None, "")
    known.verifications.record(one, "t", 1, NOW, said, final=False)
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        known.verifications.record(one, "t", 1, NOW, said, final=True)


def test_what_a_person_did_is_kept_with_who_and_when(known: Ledger) -> None:
    known.audit("mode raised", target="t", actor="ann", before="propose", after="auto")
    known.audit("ledger moved", target=None)
    rows = ask(
        known,
        "select event, target, actor, detail, at <= clock_timestamp() from ooda.audit_event where event <> 'mode' "
        "order by event_id",
    )
    assert rows == [
        ("mode raised", "t", "ann", {"before": "propose", "after": "auto"}, True),
        ("ledger moved", None, os_user(), {}, True),
    ]


def test_what_a_person_did_outlives_the_target(known: Ledger) -> None:
    known.audit("uninstalled", target="t", actor="ann")
    known.cycles.forget("t")
    found = ask(known, "select event from ooda.audit_event order by event_id")
    assert found == [("mode",), ("uninstalled",), ("forgotten",)]
