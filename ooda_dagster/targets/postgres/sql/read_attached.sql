-- A partitioned index and all that are attached to it, itself first.
with recursive tree(oid, parent_oid, level) as (
    select c.oid, null::oid, 0
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = %(name)s and c.relkind = 'I'
    union all
    select h.inhrelid, h.inhparent, level + 1 from tree join pg_catalog.pg_inherits h on h.inhparent = tree.oid
)
select c.oid, n.nspname as schema, c.relname as name, tn.nspname as table_schema, t.relname as table,
       (i.indisvalid and i.indisready and i.indislive) as valid,
       pg_catalog.obj_description(c.oid, 'pg_class') as comment,
       case when c.relkind = 'i' then coalesce(pg_catalog.pg_relation_size(c.oid), 0) else 0 end as bytes,
       coalesce(s.idx_scan, 0) as scans, tree.parent_oid
from tree
join pg_catalog.pg_class c on c.oid = tree.oid
join pg_catalog.pg_index i on i.indexrelid = c.oid
join pg_catalog.pg_class t on t.oid = i.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
left join pg_catalog.pg_stat_all_indexes s on s.indexrelid = c.oid
order by tree.level, tn.nspname, t.relname
