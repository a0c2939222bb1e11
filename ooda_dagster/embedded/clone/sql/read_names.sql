-- Schemas and extensions of users, and sequences that defaults may draw from.
select 'schema' as kind, n.nspname as schema, n.nspname as name
from pg_catalog.pg_namespace n
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
union all
select 'extension', n.nspname, e.extname
from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where e.extname not in ('plpgsql', 'hypopg', 'pg_stat_statements')
union all
select 'sequence', n.nspname, c.relname
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'S' and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
  and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype in ('i', 'e'))
