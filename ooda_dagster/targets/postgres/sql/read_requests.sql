-- How many inference requests ended in the window, and how long they took on average.
select count(*) as total, avg(total_duration_ms) filter (where total_duration_ms > 0)::float8 as avg_duration_ms
from {table}
where request_timestamp >= now() - make_interval(secs => %(hours)s * 3600) and total_duration_ms is not null
