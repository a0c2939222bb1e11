-- Is ooda.request_analysis() installed, and may we read what it writes?
select pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select') as readable
from pg_catalog.pg_namespace n
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = 'analysis_request' and c.relkind = 'r'
where n.nspname = 'ooda'
  and exists (select from pg_catalog.pg_proc p where p.pronamespace = n.oid and p.proname = 'request_analysis')
