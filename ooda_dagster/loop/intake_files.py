"""What is new in Parquet files of inference requests?

A file is read once, from its first row to its last, whenever it turns up: so a late one is not lost, whatever times it
holds. How far each was read is in the ledger. One that was changed after rows of it were counted is named and not read
again; one that cannot be read is named, and tried again at the next look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ooda_dagster.core.request_page import Page, merged
from ooda_dagster.core.text import many
from ooda_dagster.ledger.request_files import RequestFile
from ooda_dagster.ledger.requests import Progress
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.intake_step import Step
from ooda_dagster.targets.duck import LakeError
from ooda_dagster.targets.parquet_requests import LakeFile, ParquetRequests, Slice, opened
from ooda_dagster.targets.request_rollup import Judging

#: A page of files stays where it is summed, so it may be larger than one that a server sorts.
_PAGES = 10


@dataclass
class _Lake:
    """Files as they lie there, and what stands in the way of some. met: that hold rows to be read, or were read."""

    met: dict[str, RequestFile] = field(default_factory=dict)
    new: list[RequestFile] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def step_of_files(loop: Loop) -> Step | None:
    """One page of the files; None where requests are not wanted. Raises LakeError."""
    policy, now, book = loop.settings.requests, loop.clock(), loop.ledger.requests
    if not policy.enabled:
        return None
    before = book.progress(loop.name)
    identity = {"files": policy.parquet}
    same = before is not None and before.keyed_by == "file" and before.identity == identity
    first, anew = not same, before is not None and not same
    since = before.covers_since if before and same else now - timedelta(hours=loop.settings.advice.lookback_hours)
    with opened(policy.parquet, policy) as source:
        known = {} if first else book.files(loop.name)
        lake = _look(source, source.listing(), known, since)
        page, read, behind = _next(source, lake, since, Judging.of(policy, now), _PAGES * policy.max_rows)
    after = Progress(identity, "file", since, now, behind=behind)
    files = [*{f.path: f for f in (*lake.new, *read)}.values()]
    notes = ["the source is another one: the lookback is read anew"] if anew else []
    return Step(
        source.label,
        now,
        before,
        after,
        page,
        notes,
        forget=first,
        anew=anew,
        files=files,
        met=[*lake.met],
        troubles=lake.troubles,
    )


def _look(
    source: ParquetRequests, listing: Sequence[LakeFile], known: Mapping[str, RequestFile], since: datetime
) -> _Lake:
    """What lies there against what is known."""
    lake = _Lake()
    fresh = []
    for file in listing:
        seen = known.get(file.path)
        if seen is not None and (seen.bytes, seen.modified_at) == (file.bytes, file.modified_at):
            lake.met[file.path] = seen
        elif seen is not None and seen.rows_read:
            counted = many(seen.rows_read, "row")
            lake.troubles.append(
                f"{file.path}: it was replaced after {counted} of it were counted, and what it holds now is not; "
                "write new requests to new files"
            )
            lake.met[file.path] = replace(seen, rows=seen.rows_read)
        elif file.modified_at is not None and file.modified_at < since:
            lake.new.append(RequestFile(file.path, file.bytes, file.modified_at, 0, 0))  # older than the first lookback
        else:
            fresh.append(file)
    rows, torn = source.rows_in([f.path for f in fresh])
    lake.troubles += [f"{path}: {why}" for path, why in torn.items()]
    lake.new += [RequestFile(f.path, f.bytes, f.modified_at, rows[f.path], 0) for f in fresh if f.path in rows]
    return lake


def _next(
    source: ParquetRequests, lake: _Lake, since: datetime, judging: Judging, limit: int
) -> tuple[Page, list[RequestFile], bool]:
    """The next page, the files as far as they are read by it, and whether more waits."""
    waiting = [f for f in (*lake.met.values(), *lake.new) if f.rows_read < f.rows]
    taken, left = [], limit
    for file in waiting:
        if left <= 0:
            break
        n = min(file.rows - file.rows_read, left)
        taken.append(replace(file, rows_read=file.rows_read + n))
        left -= n
    if not taken:
        return Page(), [], False
    behind = sum(f.rows - f.rows_read for f in waiting) > limit
    begun = {f.path: f.rows_read for f in waiting}

    def page(files: Sequence[RequestFile]) -> Page:
        return source.page([Slice(f.path, begun[f.path], f.rows_read) for f in files], since, judging)

    try:
        return page(taken), taken, behind
    except LakeError as error:
        if len(taken) == 1:
            lake.troubles.append(str(error))
            return Page(), [], False
    pages, read = [], []
    for file in taken:  # which of them cannot be read?
        try:
            pages.append(page([file]))
            read.append(file)
        except LakeError as error:
            lake.troubles.append(str(error))
    return merged(pages, judging.max_groups), read, behind and bool(read)
