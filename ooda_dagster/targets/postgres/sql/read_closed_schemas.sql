-- In which schemas does a role own tables and may not create?
select distinct n.nspname as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'm') and c.relowner = (select oid from pg_catalog.pg_roles where rolname = %(role)s)
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
  and not pg_catalog.has_schema_privilege(%(role)s, n.oid, 'create')
order by 1
