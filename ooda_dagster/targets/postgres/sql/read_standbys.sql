-- Who receives this server's write-ahead log, and how far behind? A base backup receives none of what comes.
-- Without pg_read_all_stats only the pid is shown. A standby sends its own on, and cannot tell what its primary does.
select r.pid, coalesce(nullif(r.application_name, ''), r.client_addr::text, 'unnamed') as name, r.state,
       case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_wal_lsn_diff(
           pg_catalog.pg_current_wal_lsn(), coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn, r.sent_lsn))::float8
       end as lag_bytes,
       extract(epoch from r.replay_lag)::float8 as lag_s, pg_catalog.age(r.backend_xmin)::bigint as xmin_age
from pg_catalog.pg_stat_replication r
where r.state is distinct from 'backup'
order by r.pid
