-- What the planner goes by beside the catalogue.
select coalesce(pg_catalog.string_agg(name || '=' || setting, ' ' order by name), '') as settings
from pg_catalog.pg_settings
where category like 'Query Tuning%%' or name in ('work_mem', 'hash_mem_multiplier', 'max_parallel_workers')
