-- Two roles for one database. Run it there as a superuser or the database's owner; give both roles a password.

-- 1. Observing: sees statements, sizes, activity, statistics and plans of SELECT; writes nothing.
CREATE ROLE ooda_observe LOGIN CONNECTION LIMIT 4;
GRANT pg_monitor TO ooda_observe;        -- statements of all roles, activity, settings
GRANT pg_read_all_data TO ooda_observe;  -- column statistics and EXPLAIN; or GRANT SELECT on the tables that matter
ALTER ROLE ooda_observe SET default_transaction_read_only = on;

-- Statement statistics: needs shared_preload_libraries = 'pg_stat_statements' and a restart, once.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

-- 2. Acting (only for mode approve or auto): becomes the tables' owner for the one journalled statement.
--    It could do what that owner can: leave it out as long as you only want proposals.
CREATE ROLE ooda_act LOGIN CONNECTION LIMIT 2;
GRANT pg_monitor TO ooda_act;
-- For every role that owns tables here (PostgreSQL 16 and later; before: GRANT owner TO ooda_act):
--   GRANT app_owner TO ooda_act WITH INHERIT FALSE, SET TRUE;
