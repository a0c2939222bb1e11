-- The newest text of each client session of this database, with its literals; a text that was cut is left out.
select distinct a.query_id, a.query as text
from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.backend_type = 'client backend' and a.query_id is not null
  and a.pid <> pg_catalog.pg_backend_pid() and a.application_name not like 'ooda/%%'
  and octet_length(a.query) < pg_catalog.pg_size_bytes(current_setting('track_activity_query_size')) - 1
limit %(limit)s
