-- The newest completed requests of a time, below one of them.
select r.*
from (
    select hashtextextended({id}::text, 0) as key, {columns}{scored}
    from {table}
    where {requested_at} >= {since} and {requested_at} < {until} and {duration_ms} is not null{of_tenant}
      and (extract(epoch from {requested_at})::float8, hashtextextended({id}::text, 0))
          < (%(below_s)s::float8, %(below)s::bigint)
    order by {requested_at} desc, hashtextextended({id}::text, 0) desc
    limit %(limit)s
) r
