-- One past day of a table of requests, in one pass: how many, how many failed, and how long they took.
select count(*) as requests,
       count(*) filter (where {failed}) as failed,
       avg({duration})::float8 as avg_ms,
       percentile_cont(array[0.5, 0.95]) within group (order by {duration}::float8) as quantiles_ms
from {table}
where {requested_at} >= %(since)s and {requested_at} < %(until)s
