-- Extended statistics of the carried relations. Their data cannot be carried.
select pg_catalog.format('%%I.%%I', n.nspname, e.stxname) as name, pg_catalog.pg_get_statisticsobjdef(e.oid) as definition
from pg_catalog.pg_statistic_ext e join pg_catalog.pg_namespace n on n.oid = e.stxnamespace
where e.stxrelid = any(%(oids)s::oid[])
