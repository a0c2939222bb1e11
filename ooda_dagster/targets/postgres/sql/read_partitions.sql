-- The tree below a partitioned table, itself first. pg_partition_tree gives nothing for any other kind of table.
select n.nspname as schema, c.relname as name, c.relkind::text as kind, pg_catalog.pg_get_userbyid(c.relowner) as owner,
       t.level, pn.nspname as parent_schema, p.relname as parent
from pg_catalog.pg_class r
join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
cross join lateral pg_catalog.pg_partition_tree(r.oid) t
join pg_catalog.pg_class c on c.oid = t.relid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_class p on p.oid = t.parentrelid and t.level > 0
left join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
where rn.nspname = %(schema)s and r.relname = %(table)s and r.relkind = 'p'
order by t.level, n.nspname, c.relname
