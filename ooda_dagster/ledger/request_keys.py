"""Which ids were consumed? Sets of them as PostgreSQL's multiranges, worked on where they lie."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa


def ranges(keys: Iterable[int]) -> str:
    """Keys as the text of an int8multirange; neighbours become one range."""
    parts: list[str] = []
    start = last = None
    for key in sorted(set(keys)):
        if last is None or key != last + 1:
            if start is not None:
                parts.append(f"[{start},{last}]")
            start = key
        last = key
    if start is not None:
        parts.append(f"[{start},{last}]")
    return "{" + ",".join(parts) + "}"


SEEN = sa.text(
    "select coalesce(range_agg(keys), '{}'::int8multirange)::text from ooda.request_seen "
    "where target = :target and source = :source"
)
OPEN = sa.text(
    """
    select (int8multirange(int8range(cast(:mark as bigint), null, '()'))
            - coalesce(range_agg(keys), '{}'::int8multirange))::text
    from ooda.request_seen where target = :target and source = 'inference'
    """
)
FORGET = sa.text("delete from ooda.request_seen where target = :target and source = 'inference'")
REMEMBER = sa.text(
    """
    insert into ooda.request_seen (target, source, bucket_start, keys)
    values (:target, :source, :bucket, cast(:keys as int8multirange))
    on conflict (target, source, bucket_start) do update set keys = ooda.request_seen.keys + excluded.keys
    """
)
# What lies below the mark is not looked at; what lies above the highest id came from rows that are gone.
TRIM = sa.text(
    """
    update ooda.request_seen
    set keys = keys * int8multirange(int8range(cast(:above as bigint), cast(:highest as bigint), '(]'))
    where target = :target and source = 'inference'
      and not keys <@ int8multirange(int8range(cast(:above as bigint), cast(:highest as bigint), '(]'))
    """
)
RAISE_MARK = sa.text(
    """
    select upper(r.part) - 1
    from ooda.request_seen s, unnest(s.keys) with ordinality as r(part, number)
    where s.target = :target and s.source = 'inference'
      and number = (select count(*) - cast(:most as bigint) / 2 from unnest(s.keys))
      and (select count(*) from unnest(s.keys)) > cast(:most as bigint)
    """
)
DROP_BUCKETS = sa.text(
    "delete from ooda.request_seen where target = :target and source = :source "
    "and bucket_start <= cast(:floor as timestamptz) - interval '1 minute'"
)
RAISE_FLOOR = sa.text(
    """
    select max(bucket_start) + interval '1 minute'
    from (select bucket_start, sum((select count(*) from unnest(keys))) over (order by bucket_start desc) as kept
          from ooda.request_seen where target = :target and source = 'inference') b
    where kept > cast(:most as bigint) and bucket_start < (
        select max(bucket_start) from ooda.request_seen where target = :target and source = 'inference')
    """
)
