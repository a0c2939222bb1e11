-- Load, waits and old transactions of this database. No statement text: it may hold literals.
select count(*) filter (where state = 'active' and backend_type = 'client backend') as active_sessions,
       count(*) filter (where state = 'active' and wait_event_type = 'Lock') as waiting_sessions,
       pg_catalog.pg_database_size(current_database()) as database_bytes,
       coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'pid', pid, 'age_s', extract(epoch from clock_timestamp() - xact_start),
           'state', coalesce(state, backend_type), 'application_name', coalesce(application_name, ''))
           order by xact_start)
           filter (where xact_start is not null and datname = current_database()
                   -- Vacuum's snapshot holds up no build (PROC_IN_VACUUM).
                   and backend_type <> 'autovacuum worker'
                   and (backend_xmin is not null or backend_xid is not null or state like 'idle in transaction%'))
           , '[]') as transactions,
       (select count(*) from pg_catalog.pg_prepared_xacts where database = current_database()) as prepared_transactions,
       (select count(*) from pg_catalog.pg_replication_slots where active) as active_slots,
       (select setting from pg_catalog.pg_settings where name = 'data_directory') as data_directory
from pg_catalog.pg_stat_activity
where pid <> pg_catalog.pg_backend_pid()
