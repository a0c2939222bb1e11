"""Does every way of changing the record of the past show, and is it said where?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.chain import AUDIT, AUDIT_FIELDS, GENESIS, JOURNAL_FIELDS, journal_chain, link
from ooda_dagster.ledger import Ledger, chain_check
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import audit_event, journal
from ooda_dagster_tests.ledger.ground import NOW, ask, proposal, register
from ooda_dagster_tests.ledger.test_chains import live

_ROW_3 = "where target = 't' and position = 3"


@pytest.fixture
def past(known: Ledger) -> Ledger:
    """Journals of two targets with 6 rows each, and 6 rows of the audit."""
    register(known, "u")
    live(known, "i1")
    live(known, "i1", "u")
    known.cycles.pause("t", NOW, by="bea")
    known.cycles.resume("t", by="bea")
    assert known.trail.verify().rows == {"audit": 6, "journal/t": 6, "journal/u": 6}
    assert known.trail.verify().intact
    return known


def broken(ledger: Ledger, target: str | None = None) -> list[tuple[str, int | None, str]]:
    return [(b.chain, b.position, b.what) for b in ledger.trail.verify(target).broken]


def forge(ledger: Ledger, *, chain: str, since: int) -> None:
    """What somebody does who knows how hashes are made: all of a chain anew from a row on, and its head."""
    table, fields = (audit_event, AUDIT_FIELDS) if chain == AUDIT else (journal, JOURNAL_FIELDS)
    rows = table.select().order_by(table.c.position)
    with connection(ledger.engine) as conn:
        before, position = GENESIS, 0
        for row in conn.execute(rows).mappings().all():
            if table is journal and journal_chain(row["target"]) != chain:
                continue
            position, digest = row["position"], row["hash"]
            if position >= since:
                digest = link(before, chain, position, {name: row[name] for name in fields})
                change = table.update().where(table.c.hash == row["hash"])
                conn.execute(change.values(prev_hash=before, hash=digest))
            before = digest
    ask(ledger, "update ooda.chain_head set position = :n, hash = :h where chain = :c", n=position, h=before, c=chain)


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'mallory'",
        "reason = 'because'",
        "detail = '{\"a\": 1}'",
        "at = at - interval '1 microsecond'",
        "to_state = 'denied'",
        "from_state = null",
        "hash = repeat('0', 64)",
    ],
)
def test_an_edited_row_is_named(past: Ledger, change: str) -> None:
    ask(past, f"update ooda.journal set {change} {_ROW_3}")
    found = broken(past)
    assert found[0][:2] == ("journal/t", 3)
    assert found[0][2].startswith("this row was changed: ")
    assert len(found) == 1 + change.startswith("hash") * 0


@pytest.mark.parametrize("change", ["actor = 'mallory'", "event = 'x'", "detail = '{}'", "target = 'u'", "at = now()"])
def test_an_edited_event_of_the_audit_is_named(past: Ledger, change: str) -> None:
    ask(past, f"update ooda.audit_event set {change} where position = 3")
    assert broken(past)[0][:2] == ("audit", 3)


def test_a_row_that_was_moved_to_another_target_is_missed_there(past: Ledger) -> None:
    ask(past, "update ooda.journal set target = 'u', position = 7 where target = 't' and position = 3")
    places = [found[:2] for found in broken(past)]
    assert ("journal/t", 3) in places  # missing
    assert ("journal/u", 7) in places  # behind the head, and with another hash


@pytest.mark.parametrize(
    ("gone", "position", "what"),
    [
        ("= 1", 1, "row 1 is missing"),
        ("in (3, 4)", 3, "rows 3 to 4 are missing"),
        ("= 6", 6, "row 6 is missing at the end"),
        ("> 3", 4, "rows 4 to 6 are missing at the end"),
        ("> 0", 1, "rows 1 to 6 are missing: no row of the chain is left"),
    ],
)
@pytest.mark.parametrize("chain", ["journal/t", "audit"])
def test_removed_rows_are_named(past: Ledger, chain: str, gone: str, position: int, what: str) -> None:
    rows = "journal where target = 't' and" if chain != AUDIT else "audit_event where"
    ask(past, f"delete from ooda.{rows} position {gone}")
    assert (chain, position, what) in broken(past)


def test_an_inserted_row_is_named(past: Ledger) -> None:
    columns = "action_id, target, from_state, to_state, actor, reason, detail"
    copy = f"insert into ooda.journal ({columns}, position, prev_hash, hash) select {columns}"
    ask(past, f"{copy}, 7, hash, repeat('1', 64) from ooda.journal where target = 't' and position = 6")
    assert [found[:2] for found in broken(past)] == [("journal/t", 7), ("journal/t", 7)]
    assert "row 7 is behind the head" in broken(past)[1][2]


def test_a_row_that_was_slipped_in_between_shows_though_its_hash_is_right(past: Ledger) -> None:
    ask(past, "update ooda.journal set position = position + 100 where target = 't' and position >= 4")
    ask(past, "update ooda.journal set position = position - 99 where target = 't' and position > 100")
    columns = "action_id, target, at, from_state, to_state, actor, reason, detail"
    copy = f"insert into ooda.journal ({columns}, position, prev_hash, hash) select {columns}, 4, hash, 'x'"
    ask(past, f"{copy} from ooda.journal {_ROW_3}")
    assert ("journal/t", 4) in {found[:2] for found in broken(past)}
    assert ("journal/t", 5) in {found[:2] for found in broken(past)}


@pytest.mark.parametrize("position", [1, 3, 5])
def test_an_edit_with_a_new_hash_shows_at_the_next_row(past: Ledger, position: int) -> None:
    ask(past, "update ooda.journal set actor = 'mallory' where target = 't' and position = :n", n=position)
    rows = ask(past, "select * from ooda.journal where target = 't' and position = :n", n=position)
    (row,) = [dict(zip([c.name for c in journal.columns], found, strict=True)) for found in rows]
    digest = link(row["prev_hash"], "journal/t", position, {name: row[name] for name in JOURNAL_FIELDS})
    ask(past, "update ooda.journal set hash = :h where target = 't' and position = :n", h=digest, n=position)
    assert [found[:2] for found in broken(past)] == [("journal/t", position + 1)]
    assert f"row {position} was replaced, or this row" in broken(past)[0][2]


def test_an_edit_of_the_last_row_with_a_new_hash_shows_against_the_head(past: Ledger) -> None:
    ask(past, "update ooda.journal set hash = repeat('a', 64) where target = 't' and position = 6")
    assert ("journal/t", 6, "the last row is not the one that the head names") in broken(past)


def test_of_a_chain_with_much_damage_the_first_findings_are_kept_and_all_are_counted(
    past: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_check, "KEPT", 2)
    (kept,) = [head.hash for head in past.trail.heads("t") if head.chain == "journal/t"]
    ask(past, "update ooda.journal set reason = 'because'")
    found = past.trail.verify(expect=[kept])
    assert [(b.chain, b.position) for b in found.broken] == [
        ("journal/t", 1), ("journal/t", 2), ("journal/u", 1), ("journal/u", 2),
    ]  # fmt: skip
    assert (found.breaks, found.total) == ({"journal/t": 6, "journal/u": 6}, 12)
    assert (found.intact, [a.unchanged for a in found.anchors]) == (False, [False])


def test_a_head_that_is_gone_is_named(past: Ledger) -> None:
    ask(past, "delete from ooda.chain_head where chain = 'journal/t'")
    assert broken(past) == [("journal/t", None, "the chain has rows and no head")]


def test_rows_that_were_numbered_anew_are_named(past: Ledger) -> None:
    """The newest row by number says what state an action is in."""
    ask(past, "update ooda.journal set seq = -1 where target = 't' and position = 5")
    assert ("journal/t", 5, "its number is not above that of the row before") in broken(past)


def test_only_a_kept_head_shows_that_a_whole_chain_was_written_anew(past: Ledger) -> None:
    kept = {head.chain: head.hash for head in past.trail.heads()}
    live(past, "later")
    assert past.trail.verify(expect=kept.values()).intact
    ask(past, f"update ooda.journal set actor = 'mallory' {_ROW_3}")
    forge(past, chain="journal/t", since=3)
    assert past.trail.verify().intact
    found = past.trail.verify(expect=kept.values())
    assert not found.intact
    assert {a.chain for a in found.anchors if a.unchanged} == {"audit", "journal/u"}
    assert [a.hash for a in found.anchors if a.chain is None] == [kept["journal/t"]]


def test_only_a_kept_head_shows_a_tail_that_was_cut_off_with_its_head_set_back(past: Ledger) -> None:
    (kept,) = [head.hash for head in past.trail.heads() if head.chain == "audit"]
    ask(past, "delete from ooda.audit_event where position > 4")
    forge(past, chain="audit", since=9)
    assert past.trail.verify().intact
    assert not past.trail.verify(expect=[kept]).intact


def test_what_broke_after_a_kept_head_leaves_the_past_up_to_it_proven(past: Ledger) -> None:
    (kept,) = [head.hash for head in past.trail.heads("t") if head.chain == "journal/t"]
    live(past, "later")
    ask(past, "update ooda.journal set actor = 'mallory' where target = 't' and position = 9")
    found = past.trail.verify(expect=[kept])
    assert not found.intact
    assert [(a.position, a.unchanged) for a in found.anchors] == [(6, True)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("state = 'verifying'", "is verifying in its own row, and kept in the journal"),
        ("statements = '[\"DROP TABLE orders\"]'", "the statements of action"),
        ("undo = '[]'", "the statements of action"),
        ("decided_by = 'mallory'", "is approved by mallory in its own row, and by ann in the journal"),
    ],
)
def test_an_action_that_disagrees_with_its_journal_is_named(past: Ledger, change: str, what: str) -> None:
    ask(past, f"update ooda.action set {change} where target = 't'")
    ((chain, _, said),) = broken(past)
    assert chain == "journal/t"
    assert what in said
    assert broken(past, "u") == []


def test_an_approval_that_nobody_gave_is_named(past: Ledger) -> None:
    action = past.actions.propose("t", proposal("i9"), by="ann", now=NOW)
    past.actions.note(action.action_id, approved_hash=action.statements_hash, decided_by="ann")
    assert "is approved by ann in its own row, and by nobody in the journal" in broken(past)[0][2]


def test_an_action_without_a_journal_and_a_journal_without_its_action_are_named(past: Ledger) -> None:
    past.actions.propose("u", proposal("i9"), by="ann", now=NOW)
    ask(past, "update ooda.action set action_id = 'renamed' where target = 'u' and identity = 'i9'")
    said = [what for _, _, what in broken(past)]
    assert "action renamed (proposed) has no row in the journal" in said
    assert any("is gone, and nobody forgot the target" in what for what in said)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("mode = 'auto'", "the mode of t is auto, and was propose in the audit"),
        ("paused_at = now()", "t is paused, and was resumed in the audit"),
    ],
)
def test_a_target_that_disagrees_with_the_audit_is_named(past: Ledger, change: str, what: str) -> None:
    ask(past, f"update ooda.target set {change} where name = 't'")
    assert what in broken(past)[0][2]


@pytest.mark.parametrize("again", [False, True])
def test_a_target_that_is_forgotten_leaves_its_journal_and_who_forgot_it(past: Ledger, again: bool) -> None:
    past.cycles.pause("t", NOW, by="bea")
    past.cycles.forget("t", by="ann", why="sold")
    if again:
        register(past)
        live(past, "i1")
    assert len(past.actions.list("t")) == again
    found = past.trail.verify()
    assert found.broken == []
    assert found.rows["journal/t"] == (12 if again else 6)
    (event,) = past.trail.events("t", events=["forgotten"])
    assert (event.actor, event.detail) == ("ann", {"why": "sold"})


def test_a_check_of_one_target_reads_its_journal_and_the_audit(past: Ledger) -> None:
    ask(past, f"update ooda.journal set actor = 'mallory' {_ROW_3}")
    assert set(past.trail.verify("u").rows) == {"audit", "journal/u"}
    assert past.trail.verify("u").intact
    assert not past.trail.verify("t").intact
