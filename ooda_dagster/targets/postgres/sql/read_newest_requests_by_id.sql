-- Completed requests with the highest ids below one, of a time. The limit counts those before it, too: no scan goes
-- further back.
select r.key, r.requested_s, r.duration_ms, r.status, r.model, r.operation, r.tokens, r.tokens_in, r.tokens_out,
       r.shown_id
from (
    select {id}::bigint as key, {columns}{scored}, {requested_at} >= {since} and {requested_at} < {until} as inside
    from {table}
    where {id} > %(above)s and {id} <= %(upto)s and {duration_ms} is not null{of_tenant}
    order by {id} desc
    limit %(limit)s
) r
where r.inside
