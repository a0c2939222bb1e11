-- Completed requests of a time, the first above an id.
select {id}::bigint as key, {columns}
from {table}
where {id} > %(above)s and {requested_at} >= {since} and {duration_ms} is not null{of_tenant}
order by {id}
limit %(limit)s
