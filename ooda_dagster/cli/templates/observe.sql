-- Run in the database that is to be observed, as a superuser or the service's administrator; then give the role a
-- password (psql: \password ooda_observe).

-- Level 1. Statements of all roles, activity, sizes, settings. Writes nothing: no right to, and read-only by default.
CREATE ROLE ooda_observe LOGIN CONNECTION LIMIT 4;
GRANT pg_monitor TO ooda_observe;
ALTER ROLE ooda_observe SET default_transaction_read_only = on;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements; -- {preload}
