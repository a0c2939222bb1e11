-- One past day of a table of requests, in one pass: how many, how many failed where that is known, how long they took.
select count(*) as requests,
       case when count(*) = 0 or count({status}) > 0
            then count(*) filter (where lower({status}::text) = any(%(failed)s)) end as failed,
       avg({duration_ms}::float8) as avg_ms,
       percentile_cont(array[0.5, 0.95]) within group (order by {duration_ms}::float8) as quantiles_ms
from {table}
where {requested_at} >= {since} and {requested_at} < {until}
