-- The newest completed requests of a time.
select hashtextextended({id}::text, 0) as key, {columns}{scored}
from {table}
where {requested_at} >= {since} and {requested_at} < {until} and {duration_ms} is not null
order by {requested_at} desc
limit %(limit)s
