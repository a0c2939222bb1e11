-- Completed requests of a time that were not consumed yet, oldest first. `seen` holds the keys of those that were.
select hashtextextended({id}::text, 0) as key, {columns}
from {table}
where {requested_at} >= {since} and {requested_at} < {until} and {duration_ms} is not null
  and not (%(seen)s::int8multirange @> hashtextextended({id}::text, 0))
order by {requested_at}
limit %(limit)s
