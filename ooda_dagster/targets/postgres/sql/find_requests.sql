-- The document's table of inference requests, if this database has one that we may read.
select n.nspname as schema, c.relname as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relname = 'inference_requests' and c.relkind in ('r', 'p')
  and pg_catalog.has_table_privilege(c.oid, 'select') and pg_catalog.has_schema_privilege(n.oid, 'usage')
  and (select count(*) from pg_catalog.pg_attribute a
       where a.attrelid = c.oid and not a.attisdropped
         and a.attname in ('request_timestamp', 'total_duration_ms', 'status')) = 3
order by n.nspname = 'public' desc
limit 1
