-- Statement counters of this database. Without texts: those are read once for each new query id, which is null where
-- the entry is another role's and hidden from us.
select queryid as query_id, userid::bigint as user_id, toplevel, {since} as since, calls, total_exec_time as total_ms,
       calls * (mean_exec_time * mean_exec_time + stddev_exec_time * stddev_exec_time) as total_ms_sq, rows,
       shared_blks_hit as blocks_hit, shared_blks_read as blocks_read,
       temp_blks_read + temp_blks_written as temp_blocks, wal_bytes
from {schema}.pg_stat_statements(false)
where dbid = %(database)s
order by total_exec_time desc
limit %(limit)s
