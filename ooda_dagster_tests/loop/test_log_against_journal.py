"""Does anything change but what the journal says, and did all happen that it says? The server's own log against it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pglast
import pytest
from pglast import ast

from ooda_dagster.config.servers import make_roles
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.by_hand import approve_action, propose, rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster_tests.loop.ground import make_loop, turn, with_settings
from ooda_dagster_tests.support import Database, make_orders, work
from ooda_dagster_tests.targets.ground import own_cluster

_LOGGED = {
    "log_statement": "all",
    "log_destination": "jsonlog",
    "logging_collector": "on",
    "log_rotation_age": 0,
    "log_rotation_size": 0,
}
_SENT = re.compile(r"(?:statement|execute [^:]*): (.*)", re.DOTALL)
_SIGNED = re.compile(r"\s*/\*.*?\*/\s*\Z", re.DOTALL)
#: What changes no more than the session that it is in.
_HARMLESS = (ast.VariableSetStmt, ast.VariableShowStmt, ast.TransactionStmt, ast.ExplainStmt)


_WRITING = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.IntoClause, ast.LockingClause)


def walk(node: object) -> Iterator[object]:
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from walk(getattr(node, name))


def writes(text: str) -> bool:
    """Whether a statement may change the database, by PostgreSQL's own parser. What is not known to be harmless may."""
    for parsed in pglast.parse_sql(text):
        node = parsed.stmt
        if isinstance(node, _HARMLESS) or (isinstance(node, ast.CopyStmt) and not node.is_from):
            continue
        if not isinstance(node, ast.SelectStmt) or any(isinstance(part, _WRITING) for part in walk(node)):
            return True
    return False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1", False),
        ("set lock_timeout = 1; begin read only; rollback", False),
        ("explain (format json) select 1", False),
        ("copy (select 1) to stdout", False),
        ("copy t from stdin", True),
        ("with x as (delete from t returning a) select * from x", True),
        ("select 1 into t", True),
        ("select * from t for update", True),
        ("select 1; drop index i", True),
        ("analyze t", True),
        ("do $$ begin end $$", True),
    ],
)
def test_a_statement_that_may_write_is_told_from_one_that_does_not(text: str, expected: bool) -> None:
    assert writes(text) is expected


@pytest.fixture(scope="module")
def logging_server() -> Iterator[Cluster]:
    with own_cluster("logging", settings=_LOGGED) as cluster:
        make_roles(cluster)
        yield cluster


@pytest.fixture
def logged(logging_server: Cluster) -> Iterator[Database]:
    made = Database(logging_server, f"logged_{uuid.uuid4().hex[:8]}")
    made.create()
    yield made
    made.drop()


def ours(database: Database) -> list[str]:
    """Statements of our sessions, without our mark, in the order in which the server got them."""
    found = []
    for file in sorted(Path(database.cluster.data_dir).glob("log/*.json")):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            sent = _SENT.match(entry.get("message", ""))
            if sent and entry.get("application_name", "").startswith("ooda/") and entry.get("dbname") == database.name:
                found.append(sent[1])
    return found


def told(text: str) -> str:
    return _SIGNED.sub("", text).strip()


def journal(loop: Loop) -> tuple[set[str], set[str]]:
    """Statements that the journal announces or reports, and those that it reports as done."""
    announced: set[str] = set()
    done: set[str] = set()
    for action in loop.ledger.actions.list(loop.name):
        for row in loop.ledger.actions.history(action.action_id):
            texts = set(row["detail"].get("statements", ()))
            announced |= texts
            if row["to_state"] in ("applied", "reverted", "failed"):
                done |= texts
    return announced, done


@pytest.mark.slow
def test_what_the_log_has_the_journal_has_and_the_other_way_round(logged: Database, books: Ledger, home: Path) -> None:
    make_orders(logged, 60_000)
    work(logged)
    loop = make_loop(logged, books, home, Mode.AUTO)
    by_itself = turn(loop)
    assert by_itself.results.executed_actions == 1
    # An undo by hand.
    (built,) = loop.ledger.actions.list(loop.name, states=(State.VERIFYING,))
    assert rollback(loop, built, by="ann").done
    # A build that the server refuses half-way: its debris is dropped.
    propose(loop, "create index on orders ((status::int))", by="ann", approve=True)
    failed = turn(loop)
    assert failed.results.failed_actions == 1
    # In mode approve nothing happens before a person says so.
    careful = with_settings(loop, mode=Mode.APPROVE)
    action = propose(careful, "create index on orders (placed) where status = 'open'", by="ann")
    before = [t for t in ours(logged) if writes(t)]
    turn(careful)
    assert [t for t in ours(logged) if writes(t)] == before
    approve_action(careful, careful.ledger.actions.get(action.action_id), by="bob")
    assert turn(careful).results.executed_actions >= 1

    sent = ours(logged)
    assert len(sent) > 100
    written = [told(text) for text in sent if writes(text)]
    announced, done = journal(loop)
    kinds = {text.split()[0] for text in written}
    assert kinds == {"CREATE", "DROP", "COMMENT"}
    assert [text for text in written if text not in announced] == []
    assert [text for text in sorted(done) if text not in written] == []
    assert len([text for text in written if text.startswith("DROP")]) == 2


def test_a_statement_behind_the_journal_s_back_would_be_found(logged: Database, books: Ledger, home: Path) -> None:
    make_orders(logged, 1_000)
    loop = make_loop(logged, books, home, Mode.AUTO)
    with loop.target.acting("test") as session:
        session.execute("analyze public.orders", role=None, lock_timeout_s=1, timeout_s=5)
    (written,) = [told(text) for text in ours(logged) if writes(text)]
    assert written == "analyze public.orders"
    assert written not in journal(loop)[0]
