-- User tables with size and use. Sizes are of the main fork; total adds indexes and TOAST. The functions give null for
-- a table that is dropped while we read, and wait for one that somebody holds: of that, VACUUM's pages are told.
with held as materialized (
    select relation as oid from pg_catalog.pg_locks
    where locktype = 'relation' and mode = 'AccessExclusiveLock'
      and database = (select oid from pg_catalog.pg_database where datname = current_database())
)
select c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       pg_catalog.pg_get_userbyid(c.relowner) as owner, c.reltuples as rows, c.relpages as pages,
       case when c.relkind not in ('r', 'm') then 0 when c.oid in (select oid from held) then c.relpages * 8192::bigint
            else coalesce(pg_catalog.pg_relation_size(c.oid), 0) end as bytes,
       case when c.relkind not in ('r', 'm') then 0 when c.oid in (select oid from held) then c.relpages * 8192::bigint
            else coalesce(pg_catalog.pg_total_relation_size(c.oid), 0) end as total_bytes,
       c.relpersistence::text as persistence, c.relispartition as is_partition, c.relhassubclass as has_children,
       pg_catalog.has_table_privilege(c.oid, 'select') as readable, c.relrowsecurity as row_security,
       coalesce(s.n_tup_ins, 0) as inserted, coalesce(s.n_tup_upd, 0) as updated,
       coalesce(s.n_tup_hot_upd, 0) as hot_updated, coalesce(s.n_tup_del, 0) as deleted,
       coalesce(s.seq_scan, 0) as seq_scans, greatest(s.last_analyze, s.last_autoanalyze) as last_analyze,
       coalesce(s.n_mod_since_analyze, 0) as changed_since_analyze
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid
where c.relkind in ('r', 'p', 'm', 'f') and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%'
  and not exists (select from pg_catalog.pg_depend d
                  where d.objid = c.oid and d.classid = 'pg_catalog.pg_class'::regclass and d.deptype = 'e')
order by c.oid
