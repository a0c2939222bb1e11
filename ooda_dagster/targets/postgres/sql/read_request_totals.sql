-- How many inference requests of a time are complete, and how long they took on average.
select count(*) as requests, avg({duration_ms}::float8) filter (where {duration_ms} > 0) as avg_ms
from {table}
where {requested_at} >= {since} and {duration_ms} is not null{of_tenant}
