-- The tree below a partitioned table, itself first. pg_partition_tree would wait for whoever holds one of the tables. A
-- partition that is being detached CONCURRENTLY is none any more.
with recursive tree(oid, parent_oid, level) as (
    select c.oid, null::oid, 0
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = %(table)s and c.relkind = 'p'
    union all
    select h.inhrelid, h.inhparent, level + 1
    from tree join pg_catalog.pg_inherits h on h.inhparent = tree.oid and not h.inhdetachpending
)
select n.nspname as schema, c.relname as name, c.relkind::text as kind, pg_catalog.pg_get_userbyid(c.relowner) as owner,
       t.level, pn.nspname as parent_schema, p.relname as parent
from tree t
join pg_catalog.pg_class c on c.oid = t.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_class p on p.oid = t.parent_oid
left join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
order by t.level, n.nspname, c.relname
