-- Requests in reach that have no duration yet.
select count(*) as pending
from (
    select 1
    from unnest(%(open)s::int8multirange) as span
    cross join lateral (
        select 1
        from {table}
        where {id} >= lower(span) and {id} < coalesce(upper(span), 9223372036854775807) and {duration_ms} is null
        limit %(limit)s
    ) r
    limit %(limit)s
) p
