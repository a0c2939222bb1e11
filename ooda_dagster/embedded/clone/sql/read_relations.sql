-- Tables, partitions and materialised views to carry: those named (null: all), with their whole inheritance families.
-- What another session locks, or waits to lock, against readers is not touched.
with recursive named as (
    select c.oid
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f', 'm') and c.relpersistence <> 't'
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
      and not exists (select from pg_catalog.pg_depend d
                      where d.objid = c.oid and d.classid = 'pg_catalog.pg_class'::regclass and d.deptype = 'e')
      and (%(schemas)s::text[] is null
           or (n.nspname, c.relname) in (select s, t from unnest(%(schemas)s::text[], %(names)s::text[]) x(s, t)))
), family as (
    select oid from named
    union
    select case when i.inhparent = f.oid then i.inhrelid else i.inhparent end
    from family f join pg_catalog.pg_inherits i on f.oid in (i.inhparent, i.inhrelid)
), locked_now as materialized (
    select l.relation
    from pg_catalog.pg_locks l join pg_catalog.pg_database d on d.oid = l.database
    where d.datname = pg_catalog.current_database() and l.relation is not null and l.mode = 'AccessExclusiveLock'
)
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       c.relpages as pages, c.reltuples as rows, c.relallvisible as all_visible,
       case when c.relkind in ('r', 'm') and not locked then {size} else 0 end as bytes,
       c.reloptions as options, c.relispartition as is_partition, c.relrowsecurity as row_security,
       c.relpersistence::text as persistence, pg_catalog.pg_get_partkeydef(c.oid) as partition_key,
       case when not locked then pg_catalog.pg_get_expr(c.relpartbound, c.oid) end as bound,
       pg_catalog.has_table_privilege(c.oid, 'select') as readable,
       case when c.relkind = 'm' and not locked then pg_catalog.pg_get_viewdef(c.oid) end as definition, locked
from family f join pg_catalog.pg_class c on c.oid = f.oid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (select c.oid in (select relation from locked_now)) k(locked)
where c.relkind in ('r', 'p', 'f', 'm')
order by c.oid
