"""Does an evidence file hold together, and does its verdict come out of it again? From the file alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ooda_dagster.core.before_after import before_after
from ooda_dagster.core.chain import JOURNAL_FIELDS, canonical, digest_of, holds, journal_chain, statements_hash
from ooda_dagster.core.evidence_file import PARTS, edits
from ooda_dagster.core.journal import IllegalTransitionError, State, check_transition
from ooda_dagster.core.question import Question, QuestionError, code_digest
from ooda_dagster.core.verdict import Outcome, Verdict, classify

#: Of two machines' logarithms the last bits may differ; a number that is this close is the same.
_NEAR = 1e-9
_SHAPE = (KeyError, TypeError, ValueError, IndexError, AttributeError)


@dataclass(frozen=True)
class Finding:
    """What in a file is not as it should be. part: of the file; `journal` has the row's position in `what`."""

    part: str
    what: str


@dataclass
class Checked:
    """equal: whether the verdict came out again; None where the file holds none that closed. exact: to the last bit."""

    equal: bool | None = None
    exact: bool = False
    recorded: dict[str, Any] | None = None
    recomputed: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Nothing was found, and the verdict, where there is one, is the same."""
        return not self.findings and self.equal is not False


def check(document: Mapping[str, Any]) -> Checked:
    """All that a file can tell of itself. document: as `core.evidence_file.read` gives it."""
    found = Checked()
    found.findings += [Finding(*edit) for edit in edits(document)]
    for part, look in (("journal", _journal), ("action", _statements), ("allowed_by", _approval)):
        found.findings += _guarded(part, lambda look=look: look(document))
    if document.get("verdict") is None and document.get("judged") is None:
        found.findings += _guarded("verdict", lambda: _left_out(document))
        found.notes.append("it holds no verdict that closed: there is none to compute")
        return found
    found.findings += _guarded("judged", lambda: _answer(document, found))
    found.findings += _guarded("journal", lambda: _told_by_journal(document, found))
    found.findings += _guarded("before_after", lambda: _summary(document))
    return found


def _guarded(part: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a look finds; a part whose form is not ours is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except QuestionError as error:
        found.append(Finding(part, f"it cannot be asked again: {error}"))
    except _SHAPE as error:
        found.append(Finding(part, f"it cannot be read: {type(error).__name__} {error}"))
    return found


# ---------------------------------------------------------------------- the journal


def _journal(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Every row by its own hash, and by the next one where that is there too."""
    action, chain = document["action"], document["journal"]["chain"]
    rows = document["journal"]["rows"]
    if chain != journal_chain(document["target"]["name"]):
        yield Finding("journal", f"its chain is {chain}, and not that of target {document['target']['name']}")
    if not rows:
        yield Finding("journal", "it has no row")
        return
    before: Mapping[str, Any] | None = None
    for row in rows:
        position = row["position"]
        content = {name: row[name] for name in JOURNAL_FIELDS}
        if not holds(row["hash"], row["prev_hash"], chain, position, content, taken_out=True):
            yield Finding("journal", f"row {position} ({row['to_state']} by {row['actor']}) was changed")
        if row["action_id"] != action["action_id"]:
            yield Finding("journal", f"row {position} is of another action")
        if before is None and row["from_state"] is not None:
            yield Finding("journal", f"rows before row {position} are missing")
        if before is not None:
            yield from _follows(before, row)
        before = row
    assert before is not None
    if before["to_state"] != action["state"]:
        yield Finding("journal", f"the action is {action['state']}, and {before['to_state']} in its last row")


def _follows(before: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[Finding]:
    position = row["position"]
    if position <= before["position"]:
        yield Finding("journal", f"row {position} does not come after row {before['position']}")
    if position == before["position"] + 1 and row["prev_hash"] != before["hash"]:
        yield Finding("journal", f"row {before['position']} was replaced, or row {position}: they do not follow")
    if row["from_state"] != before["to_state"]:
        yield Finding("journal", f"rows between {before['position']} and {position} are missing")
        return
    try:
        check_transition(State(before["to_state"]), State(row["to_state"]))
    except IllegalTransitionError as error:
        yield Finding("journal", f"row {position}: {error}")


def _statements(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Are the statements those of the journal?"""
    action, rows = document["action"], document["journal"]["rows"]
    texts: dict[str, list[str]] = {}
    for name in ("statements", "undo"):
        for number, statement in enumerate(action[name], 1):
            if statement["exact"] and digest_of(statement["text"]) != statement["sha256"]:
                yield Finding("action", f"{name}: number {number} was changed: {statement['text']}")
        texts[name] = [s["text"] for s in action[name]]
        digests = [s["sha256"] for s in action[name]]
        for row in rows:
            if row["to_state"] == State.APPLYING and [_digest(s) for s in row["detail"][name]] != digests:
                yield Finding("action", f"its {name} are not those of journal row {row['position']}")
    known = {row["detail"]["statements_hash"] for row in rows if "statements_hash" in row["detail"]}
    exact = all(s["exact"] for name in texts for s in action[name])
    now = statements_hash(texts["statements"], texts["undo"]) if exact else action["statements_hash"]
    if now != action["statements_hash"] or known - {now}:
        yield Finding("action", "its statements are not those that were proposed, by the hash in the journal")
    if document["allowed_by"]["approved_hash"] not in (None, action["statements_hash"]):
        yield Finding("allowed_by", "what was approved is not what the action holds")


def _approval(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Is who allowed it, and by which rule, what the journal says?"""
    allowed, rows = document["allowed_by"], document["journal"]["rows"]
    approved = [row for row in rows if row["to_state"] == State.APPROVED]
    told = (approved[-1]["actor"], approved[-1]["reason"], approved[-1]["at"]) if approved else (None, None, None)
    if (allowed["approver"], allowed["rule"], allowed["at"]) != told:
        yield Finding("allowed_by", "it is not what the journal says of the approval")


def _digest(statement: Any) -> str:
    return digest_of(statement) if isinstance(statement, str) else statement["sha256"]


def _told(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows that a verdict closed."""
    return [row for row in document["journal"]["rows"] if "judged_sha256" in row["detail"].get("evidence", {})]


def _left_out(document: Mapping[str, Any]) -> Iterator[Finding]:
    for row in _told(document):
        yield Finding("verdict", f"journal row {row['position']} tells of one, and the file holds none")


def _told_by_journal(document: Mapping[str, Any], found: Checked) -> Iterator[Finding]:
    """Does the row that closed the action know this verdict, and what it was computed from?"""
    verdict, judged = document["verdict"], document["judged"]
    told = _told(document)
    if not told:
        found.notes.append("no row of the journal holds the digest of the series: recovery finished the undo")
        return
    row = told[-1]
    where, detail = f"journal row {row['position']}", row["detail"]
    if detail["evidence"]["judged_sha256"] != digest_of(canonical(judged)):
        yield Finding("judged", f"it is not what {where} knows the verdict to be computed from")
    for name in ("n", "evidence"):
        if any(canonical(detail[name].get(key)) != canonical(value) for key, value in verdict[name].items()):
            yield Finding("verdict", f"its {name} is not that of {where}")
    if canonical(document["change_set"]["use"]) != canonical(detail["evidence"].get("use")):
        yield Finding("change_set", f"the use of its actions is not that of {where}")


# ---------------------------------------------------------------------- the verdict


def _answer(document: Mapping[str, Any], found: Checked) -> Iterator[Finding]:
    """Ask again, by the code that judged, and compare."""
    found.recorded, found.equal = document["verdict"], False
    judged = document["judged"]
    if judged is None or found.recorded is None:
        missing = "judged" if judged is None else "verdict"
        yield Finding(missing, f"{PARTS[missing]} is not in the file: nothing can be computed again")
        return
    question = Question.from_json(judged)
    answer = question.answer()
    found.recomputed = as_json(answer, question)
    same_code = judged["code"] == code_digest()
    if not same_code:
        found.notes.append("computed by other code than that which judged: compare the versions in made_by")
    differences = [f for f in _differences(found.recorded, found.recomputed) if same_code or f.part != "reason"]
    found.exact = canonical(_asked_for(found.recorded, found.recomputed)) == canonical(found.recomputed)
    found.equal = not differences
    yield from (Finding("verdict", f.what) for f in differences)
    decided = answer.outcome in (Outcome.BETTER, Outcome.WORSE)
    if not decided and (question.deadline_at is None or question.now < question.deadline_at):
        yield Finding("verdict", "it closed before its deadline, and nothing was decided by then")
    looked = {look["look"]: look for look in document["looks"]}.get(found.recorded["look"], {})
    if any(looked.get(name) != found.recorded[name] for name in ("outcome", "ratio", "interval", "reason", "at")):
        yield Finding("looks", f"look {found.recorded['look']} is not the verdict")
    if datetime.fromisoformat(found.recorded["at"]) != question.now:
        yield Finding("verdict", "it was not given when the series ends")


def as_json(answer: Verdict, question: Question) -> dict[str, Any]:
    """A verdict in the names of the file."""
    return {
        "outcome": str(answer.outcome),
        "outcome_class": str(classify(answer, question.policy)),
        "ratio": answer.ratio,
        "interval": list(answer.interval) if answer.interval else None,
        "n": answer.n,
        "evidence": answer.evidence,
        "reason": answer.reason,
    }


def _asked_for(recorded: Any, recomputed: Any) -> Any:
    """What of the recorded was computed again."""
    if isinstance(recorded, dict) and isinstance(recomputed, dict):
        return {name: _asked_for(recorded.get(name), value) for name, value in recomputed.items()}
    return recorded


def _differences(recorded: Any, recomputed: Any, name: str = "") -> Iterator[Finding]:
    """Names that differ, with both values; `part` is the name."""
    if isinstance(recomputed, dict):
        for key, value in recomputed.items():
            there = recorded.get(key) if isinstance(recorded, dict) else None
            yield from _differences(there, value, f"{name}.{key}" if name else key)
    elif isinstance(recomputed, list) and isinstance(recorded, list) and len(recorded) == len(recomputed):
        for number, (one, other) in enumerate(zip(recorded, recomputed, strict=True)):
            yield from _differences(one, other, f"{name}[{number}]")
    elif not _same(recorded, recomputed):
        yield Finding(name, f"{name} is {_word(recorded)}, and {_word(recomputed)} comes out")


def _same(one: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(other, numbers) and not isinstance(one, bool | type(None)):
        return math.isclose(one, other, rel_tol=_NEAR, abs_tol=1e-12)
    return type(one) is type(other) and one == other


def _word(value: Any) -> str:
    return repr(value) if isinstance(value, float) else "nothing" if value is None else str(value)


def _summary(document: Mapping[str, Any]) -> Iterator[Finding]:
    rows = {row["fingerprint"]: row for row in document["before_after"]}
    for now in before_after(document["judged"]):
        for found in _differences(rows.get(now["fingerprint"]), now):
            yield Finding("before_after", f"statement {now['fingerprint']}: {found.what}")
