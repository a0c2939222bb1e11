-- The table of embeddings by its name, if there is one that we may read; in public first.
select n.nspname as schema, c.relname as name, pg_catalog.format('%%I.%%I', n.nspname, c.relname) as label,
       c.relkind in ('r', 'p', 'm') as sampled, c.oid, pg_catalog.pg_get_userbyid(c.relowner) as owner
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relname = %(name)s and (%(schema)s::text is null or n.nspname = %(schema)s)
  and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and pg_catalog.has_any_column_privilege(c.oid, 'select') and pg_catalog.has_schema_privilege(n.oid, 'usage')
order by n.nspname = 'public' desc, n.nspname
limit 1
