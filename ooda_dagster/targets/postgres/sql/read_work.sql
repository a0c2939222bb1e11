-- Who builds an index anywhere on this server, and who holds or wants a lock on some tables that a build conflicts with?
-- DDL, VACUUM, ANALYZE and CREATE INDEX take one; readers and writers do not, and a build waits for them. A prepared
-- transaction (pid 0) may stay for ever: its writes count. No statement text is told.
with watched as (
    select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join unnest(%(schemas)s::text[], %(tables)s::text[]) w(schema, name) on n.nspname = w.schema and c.relname = w.name
), busy as (
    -- A row without a relation is told to those who may not see whose it is.
    select p.pid, 'build' as what, null::oid as relation from pg_catalog.pg_stat_progress_create_index p
    union all
    select coalesce(l.pid, 0), case when l.granted then 'holds ' else 'waits for ' end || l.mode, l.relation
    from pg_catalog.pg_locks l join watched w on w.oid = l.relation
    where l.locktype = 'relation' and (l.mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
           or l.pid is null and l.mode = 'RowExclusiveLock')
      and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
)
select distinct on (b.pid) b.pid, b.what, n.nspname as schema, c.relname as table, a.datname as database,
       coalesce(a.application_name, '') as application_name, coalesce(a.backend_type, '') as backend_type,
       coalesce(a.backend_type = 'autovacuum worker' and a.query like '%%to prevent wraparound%%', false) as wraparound,
       coalesce(extract(epoch from clock_timestamp() - a.xact_start)::float8, 0) as age_s
from busy b
left join pg_catalog.pg_stat_activity a on a.pid = b.pid
left join pg_catalog.pg_class c on c.oid = b.relation
left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where b.pid <> all (%(own)s::int[]) and b.pid <> pg_catalog.pg_backend_pid()
order by b.pid, b.what
