-- What the planner goes by.
select name, reset_val as value
from pg_catalog.pg_settings
where category like 'Query Tuning%%' or name = any(%(names)s)
