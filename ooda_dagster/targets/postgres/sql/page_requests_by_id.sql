-- Completed requests whose ids were not consumed yet, lowest first: one look into the index for each range that is open.
select r.*
from unnest(%(open)s::int8multirange) as span
cross join lateral (
    select {id}::bigint as key, {columns}
    from {table}
    where {id} >= lower(span) and {id} < coalesce(upper(span), 9223372036854775807) and {duration_ms} is not null
    order by {id}
    limit %(limit)s
) r
order by r.key
limit %(limit)s
