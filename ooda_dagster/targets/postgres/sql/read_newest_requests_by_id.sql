-- The completed requests with the highest ids, of a time. The limit counts those before it, too: no scan goes further back.
select r.key, r.requested_s, r.duration_ms, r.status, r.model, r.operation, r.tokens, r.tokens_in, r.tokens_out,
       r.shown_id
from (
    select {id}::bigint as key, {columns}{scored}, {requested_at} >= {since} and {requested_at} < {until} as inside
    from {table}
    where {id} is not null and {duration_ms} is not null
    order by {id} desc
    limit %(limit)s
) r
where r.inside
