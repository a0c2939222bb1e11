"""Does a person hear of what is alarming, once, through a real webhook or command - and of no secret?"""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.config import Alerts, Reference
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Analyze
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.embedded.files import free_port
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop.alerts import deliver, run_failed, watch
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask
from ooda_dagster_tests.loop.hook import SECRET, Hook, hook
from ooda_dagster_tests.loop.life import Life

VARIABLE = "OODA_TEST_WEBHOOK"
WEBHOOK = Alerts(Reference("env", VARIABLE))


@pytest.fixture
def book(books: Ledger) -> Iterator[Ledger]:
    yield books
    ask(books, "truncate ooda.alert")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with hook() as made:
        monkeypatch.setenv(VARIABLE, made.url)
        yield made


def ended(ledger: Ledger, name: str, *states: State, **columns: object) -> Action:
    spec = IndexSpec("public", "orders", (IndexColumn("customer"),))
    action = ledger.actions.propose(name, propose_index(spec), by="policy", now=NOW)
    for state in (State.APPROVED, State.APPLYING, *states):
        action = ledger.actions.transition(action.action_id, state, actor="policy")
    ledger.actions.note(action.action_id, **columns)
    return ledger.actions.get(action.action_id)


def raised(ledger: Ledger, text: str = "something broke", key: str | None = None) -> None:
    assert ledger.alerts.raise_("run_failed", key or str(uuid.uuid4()), "t", text, now=NOW, run_id="r")


def test_a_loop_that_is_well_raises_nothing(book: Ledger) -> None:
    life = Life(book)
    ended(book, life.name, State.APPLIED, State.VERIFYING, State.KEPT, outcome=Outcome.BETTER, ratio=0.5)
    found = watch(book, [life.name], NOW)
    assert (found.raised, found.cleared, found.liveness[0].alive) == ([], [], True)


def test_a_dead_letter_is_told_until_it_is_cleared(book: Ledger) -> None:
    life = Life(book)
    begun = book.cycles.begin(life.name, due_at=NOW, run_id=life.name, trigger="hand", mode="propose", now=NOW)
    book.messages.receive(Analyze, begun.analysis_id, now=NOW)
    book.messages.bury(Analyze, begun.analysis_id, "cannot be read", now=NOW)
    (text,) = watch(book, [life.name], NOW).raised
    assert text.startswith(f"{life.name}: analyze's message of analysis {begun.analysis_id} is dead after 1 attempts")
    assert text.endswith(f"cannot be read. Remedy: mend the cause, then `ooda queues reset --target {life.name}`")
    book.queues.reset(life.name, by="ann", now=NOW)
    assert [a.kind for a in watch(book, [life.name], NOW).cleared] == ["dead_letter"]


def test_a_stuck_undo_is_raised_once_and_cleared_when_it_is_mended(book: Ledger) -> None:
    life = Life(book)
    states = (State.APPLIED, State.REVERTING, State.REVERT_FAILED)
    action = ended(book, life.name, *states, error="lock timeout\nCONTEXT: more", outcome=Outcome.WORSE)
    (text,) = watch(book, [life.name], NOW).raised
    short = action.action_id[:8]
    assert text.startswith(f"{life.name}: the undo of action {short} (ooda_orders_customer_")
    assert text.endswith(f"is stuck: lock timeout. Remedy: mend the cause, then `ooda actions rollback {short}`")
    assert watch(book, [life.name], NOW).raised == []
    book.actions.transition(action.action_id, State.REVERTING, actor="a")
    book.actions.transition(action.action_id, State.REVERTED, actor="a")
    assert [a.kind for a in watch(book, [life.name], NOW).cleared] == ["undo_stuck"]
    assert book.alerts.news(NOW, life.name) == []


def test_a_regression_that_is_still_in_place_is_raised_with_its_size(book: Ledger) -> None:
    life = Life(book)
    action = ended(book, life.name, State.APPLIED, State.VERIFYING, outcome=Outcome.WORSE, ratio=1.5)
    (text,) = watch(book, [life.name], NOW).raised
    assert "by +50% and is still in place. Remedy: `ooda actions rollback" in text
    (alert,) = book.alerts.news(NOW, life.name)
    assert alert.kind == "regression_in_place"
    assert alert.detail["action_id"] == action.action_id
    assert alert.detail["undo"][0].startswith("DROP INDEX")


def test_a_dead_loop_is_raised_cleared_and_raised_again(book: Ledger) -> None:
    life, other = Life(book), Life(book)
    life.due(NOW - timedelta(hours=1))
    (text,) = watch(book, [life.name, other.name], NOW).raised
    assert text.startswith(f"{life.name}: the loop is not alive: next cycle due: ")
    assert len(text) < 600
    life.due(NOW + MINUTE)
    assert len(watch(book, [life.name, other.name], NOW).cleared) == 1
    life.due(NOW - timedelta(hours=1))
    assert len(watch(book, [life.name, other.name], NOW).raised) == 1


def test_a_failed_run_is_entered_with_how_to_look_and_when_it_goes_on(book: Ledger) -> None:
    life = Life(book)
    life.cycle(NOW - MINUTE, "x")
    (cycle,) = book.cycles.latest(life.name)
    told = {"run_id": cycle.run_id, "job": "ooda_cycle", "target": life.name, "cycle": cycle, "now": NOW}
    error = "TargetUnreachableError: postgresql://u:s3cret@h/d does not answer\nDETAIL: x"
    assert run_failed(book, error=error, **told)
    assert not run_failed(book, error=error, **told)
    (alert,) = book.alerts.news(NOW, life.name)
    assert alert.text == (
        f"{life.name}: ooda_cycle failed: TargetUnreachableError: postgresql://u:***@h/d does not answer. "
        f"`ooda status --target {life.name}` shows where it stands; "
        "next cycle due 2026-03-02T12:59:00.000Z (cycle ended with an error: x)"
    )
    assert alert.detail["analysis_id"] == cycle.analysis_id
    assert "s3cret" not in str(alert)


def test_the_webhook_gets_a_text_for_people_and_the_rest_for_programs(book: Ledger, server: Hook) -> None:
    raised(book)
    assert deliver(book, WEBHOOK, NOW) == ["told: something broke"]
    (body,) = server.bodies
    assert body["text"] == "ooda: something broke"
    assert (body["target"], body["kind"], body["at"], body["detail"]) == (
        "t",
        "run_failed",
        "2026-03-02T12:00:00.000Z",
        {"run_id": "r"},
    )
    (alert,) = book.alerts.news(NOW)
    assert (alert.delivered_at, alert.sent_to, alert.error) == (NOW, ["webhook"], None)
    assert deliver(book, WEBHOOK, NOW + MINUTE) == []
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "why"), [(500, "HTTP 500"), (403, "HTTP 403"), (302, "HTTP 302")], ids=["error", "refused", "redirect"]
)
def test_what_failed_is_told_at_the_next_tick(book: Ledger, server: Hook, answer: int, why: str) -> None:
    server.answers = [answer]
    raised(book)
    assert deliver(book, WEBHOOK, NOW) == [f"not told: something broke (alerts.webhook: it answered with {why})"]
    (alert,) = book.alerts.news(NOW)
    assert (alert.delivered_at, alert.error) == (None, f"alerts.webhook: it answered with {why}")
    assert deliver(book, WEBHOOK, NOW + MINUTE) == ["told: something broke"]
    assert len(server.paths) == 2, "a redirect is not followed"
    (alert,) = book.alerts.news(NOW)
    assert (alert.delivered_at, alert.error, alert.attempts) == (NOW + MINUTE, None, 2)


def test_one_that_fails_stands_in_nobody_s_way_for_long(book: Ledger, server: Hook) -> None:
    server.answers = [500]
    for word in ("a", "b", "c"):
        raised(book, word)
    assert len(deliver(book, WEBHOOK, NOW)) == 1
    assert deliver(book, WEBHOOK, NOW + timedelta(seconds=1)) == ["told: b", "told: c"]


def test_a_server_that_hangs_or_is_gone_does_not_hold_the_tick(
    book: Ledger, server: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ooda_dagster.loop.channels._WEBHOOK_TIMEOUT_S", 0.3)
    server.delay_s = 1
    raised(book)
    assert "no answer within 0.3 s" in deliver(book, WEBHOOK, NOW)[0]
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{free_port()}/{SECRET}")
    assert "connection refused" in deliver(book, WEBHOOK, NOW + MINUTE)[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/{}",
        "{}",
        "file:///etc/{}",
        "http://{}:bad/x",
        "http://[{}/x",
        "http://u:{}@127.0.0.1:1/",
        "http:// {}/",
        "",
    ],
)
def test_a_secret_in_the_url_is_in_no_error_and_no_row(book: Ledger, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(VARIABLE, url.format(SECRET))
    raised(book)
    (line,) = deliver(book, WEBHOOK, NOW)
    assert line.startswith("not told: something broke (alerts.webhook: ")
    assert SECRET not in line
    rows = ask(book, "select row_to_json(a)::text from ooda.alert a")
    assert len(rows) == 1
    assert SECRET not in rows[0][0]


def _command(script: str, *arguments: str) -> Alerts:
    return Alerts(command=shlex.join([sys.executable, "-c", script, *arguments]))


def test_a_command_gets_the_same_on_its_stdin(book: Ledger, tmp_path: Path) -> None:
    raised(book)
    write = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    assert deliver(book, _command(write, str(tmp_path / "told")), NOW) == ["told: something broke"]
    body = json.loads((tmp_path / "told").read_text())
    assert (body["text"], body["kind"]) == ("ooda: something broke", "run_failed")


def test_a_command_that_fails_is_tried_again_and_its_output_kept_from_everybody(book: Ledger) -> None:
    raised(book)
    fails = _command(f"import sys; print('{SECRET}', file=sys.stderr); sys.exit(3)")
    (line,) = deliver(book, fails, NOW)
    assert "ended with status 3" in line
    assert SECRET not in line
    assert "cannot be run: FileNotFoundError" in deliver(book, Alerts(command="/no/such/program"), NOW + MINUTE)[0]
    assert deliver(book, _command("pass"), NOW + 2 * MINUTE) == ["told: something broke"]


def test_of_two_channels_the_one_that_has_it_does_not_get_it_twice(book: Ledger, server: Hook, tmp_path: Path) -> None:
    server.answers = [500]
    raised(book)
    count = "import sys; open(sys.argv[1], 'a').write('x')"
    both = Alerts(WEBHOOK.webhook, _command(count, str(tmp_path / "told")).command)
    assert deliver(book, both, NOW)[0].startswith("not told")
    assert deliver(book, both, NOW + MINUTE)[0].startswith("told")
    assert (tmp_path / "told").read_text() == "x"
    assert len(server.bodies) == 1


def test_a_channel_that_is_broken_does_not_hold_up_the_other(book: Ledger, server: Hook) -> None:
    for word in ("a", "b", "c"):
        raised(book, word)
    both = Alerts(WEBHOOK.webhook, "/no/such/program")
    assert [line.split(" (")[0] for line in deliver(book, both, NOW)] == ["not told: a", "not told: b", "not told: c"]
    assert server.texts == ["ooda: a", "ooda: b", "ooda: c"]


def test_without_a_channel_the_row_is_all(book: Ledger) -> None:
    raised(book)
    assert deliver(book, Alerts(), NOW) == []
    (alert,) = book.alerts.news(NOW)
    assert alert.attempts == 0
