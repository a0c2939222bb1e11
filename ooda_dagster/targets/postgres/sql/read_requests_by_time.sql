-- Completed requests of a time.
select hashtextextended({id}::text, 0) as key, {columns}
from {table}
where {requested_at} >= {since} and {requested_at} < {until} and {duration_ms} is not null{of_tenant}
