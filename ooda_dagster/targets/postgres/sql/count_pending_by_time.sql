-- Requests of a time that have no duration yet.
select count(*) as pending
from (
    select 1 from {table}
    where {requested_at} >= {since} and {requested_at} < {until} and {duration_ms} is null
    limit %(limit)s
) p
