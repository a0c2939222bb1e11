
-- Level 3. The plans that auto_explain logs. The loop does not read them yet: install this only to try it.
-- The log needs, in postgresql.conf: logging_collector = on, log_destination = 'jsonlog' (or 'stderr,jsonlog'),
-- shared_preload_libraries with auto_explain, auto_explain.log_min_duration = '1s', auto_explain.log_format = 'json'.
-- The function runs as the superuser who makes it, so that nobody needs pg_read_server_files. It takes no file name:
-- it reads the end of the newest JSON log, and gives nothing but plans of this database. Plans hold literals.
BEGIN;
DO $check$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace
               WHERE nspname = 'ooda' AND nspowner <> current_user::pg_catalog.regrole) THEN
        RAISE EXCEPTION 'schema ooda belongs to another role; run this part as that role';
    END IF;
END
$check$;
CREATE SCHEMA IF NOT EXISTS ooda;
REVOKE ALL ON SCHEMA ooda FROM PUBLIC;
CREATE OR REPLACE FUNCTION ooda.plan_log(since timestamptz, most integer DEFAULT 1000)
RETURNS TABLE (logged_at timestamptz, query_id bigint, duration_ms double precision, plan text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $function$
#variable_conflict use_column
DECLARE
    most_bytes CONSTANT bigint := 8388608;
    file text := pg_current_logfile('jsonlog');
    size bigint;
    tail bytea;
    newline integer;
BEGIN
    IF file IS NULL THEN
        RAISE EXCEPTION 'the server writes no JSON log: set log_destination = ''jsonlog'' and logging_collector = on'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    size := (pg_stat_file(file)).size;
    tail := pg_read_binary_file(file, greatest(size - most_bytes, 0), most_bytes);
    IF size > most_bytes THEN -- the first line was cut
        newline := position('\x0a'::bytea IN tail);
        tail := substring(tail FROM newline + 1);
    END IF;
    RETURN QUERY
    SELECT (entry ->> 'timestamp')::timestamptz, (entry ->> 'query_id')::bigint,
           substring(entry ->> 'message' FROM '^duration: ([0-9.]+) ms')::double precision,
           substring(entry ->> 'message' FROM 'plan:\n(.*)$')
    FROM (SELECT line::jsonb AS entry
          FROM string_to_table(convert_from(tail, 'UTF8'), E'\n') line
          WHERE line LIKE '{%}' AND line LIKE '% ms  plan:\\n%') l -- a line that is half written ends later
    WHERE entry ->> 'dbname' = current_database() AND entry ->> 'message' ~ '^duration: [0-9.]+ ms  plan:\n'
      AND (entry ->> 'timestamp')::timestamptz > $1
    ORDER BY 1 DESC
    LIMIT least($2, 10000);
END
$function$;
REVOKE ALL ON FUNCTION ooda.plan_log(timestamptz, integer) FROM PUBLIC;
GRANT USAGE ON SCHEMA ooda TO ooda_observe;
GRANT EXECUTE ON FUNCTION ooda.plan_log(timestamptz, integer) TO ooda_observe;
COMMIT;
