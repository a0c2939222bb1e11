
-- Level 3. The plans that auto_explain logs: which plan was executed, beside which one the planner would choose.
-- The log needs, in postgresql.conf: logging_collector = on, log_destination = 'jsonlog' (or 'stderr,jsonlog'),
-- shared_preload_libraries with auto_explain, auto_explain.log_min_duration = '1s', auto_explain.log_format = 'json'.
-- The function runs as the superuser who makes it, so that nobody needs pg_read_server_files. It opens files of the
-- log directory only, and gives nothing but plans of this database, with where to go on from. Plans hold literals.
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
DROP FUNCTION IF EXISTS ooda.plan_log(timestamptz, integer);
CREATE OR REPLACE FUNCTION ooda.plan_log(after_file text, after_byte bigint, after_head text, most_bytes integer)
RETURNS TABLE (file text, next_byte bigint, head text, behind bigint, unreadable integer,
               logged_at timestamptz, query_id bigint, duration_ms double precision, plan text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $function$
#variable_conflict use_column
DECLARE
    directory CONSTANT text := current_setting('log_directory') || '/';
    zone CONSTANT text := current_setting('log_timezone');
    most CONSTANT bigint := least(greatest(most_bytes, 1024), 8388608);
    files text[];
    sizes bigint[];
    n integer;
    start bigint := greatest(after_byte, 0);
    inside boolean;  -- in the middle of a line
    chunk bytea;
    newline integer;
    lines text[];
    line text;
    entry jsonb;
BEGIN
    IF pg_current_logfile('jsonlog') IS NULL THEN
        RAISE EXCEPTION 'the server writes no JSON log: set log_destination = ''jsonlog'' and logging_collector = on'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT array_agg(l.name ORDER BY l.modification, l.name), array_agg(l.size ORDER BY l.modification, l.name)
    INTO files, sizes FROM pg_ls_logdir() l WHERE l.name LIKE '%.json';
    n := array_position(files, after_file);
    IF n IS NULL THEN -- the first time, or the file was removed: the end of the newest one
        n := cardinality(files);
        start := greatest(sizes[n] - most, 0);
    ELSIF sizes[n] < start
        OR md5(coalesce(pg_read_binary_file(directory || files[n], 0, least(start, 256), true), '')) <> after_head THEN
        start := 0; -- another file under the same name
    ELSIF sizes[n] = start AND n < cardinality(files) THEN
        n := n + 1;
        start := 0;
    END IF;
    -- With the byte before: it tells whether a line begins here.
    chunk := coalesce(pg_read_binary_file(directory || files[n], greatest(start - 1, 0), most + 1, true), '');
    inside := start > 0 AND length(chunk) > 0 AND get_byte(chunk, 0) <> 10;
    IF start > 0 THEN
        chunk := substring(chunk FROM 2);
    END IF;
    unreadable := 0;
    IF inside THEN -- the rest of a line that was longer than a part, or whose beginning was cut
        newline := position('\x0a'::bytea IN chunk);
        IF newline = 0 THEN
            newline := length(chunk);
        END IF;
        start := start + newline;
        chunk := substring(chunk FROM newline + 1);
    END IF;
    -- In 'escape' any bytes are text: those of another database's encoding must not end this.
    lines := string_to_array(encode(chunk, 'escape'), E'\n');
    next_byte := start + length(chunk) - coalesce(length(decode(lines[cardinality(lines)], 'escape')), 0);
    IF next_byte = start AND length(chunk) >= most THEN
        next_byte := start + length(chunk);
        unreadable := 1;
    END IF;
    FOREACH line IN ARRAY coalesce(lines[1:cardinality(lines) - 1], '{}') LOOP
        CONTINUE WHEN strpos(line, ' ms  plan:') = 0;
        BEGIN
            entry := convert_from(decode(line, 'escape'), 'UTF8')::jsonb;
            -- With a context: of a statement inside a function, or a message of somebody's that looks like a plan.
            CONTINUE WHEN entry ->> 'dbname' IS DISTINCT FROM current_database() OR entry ? 'context'
                OR entry ->> 'message' !~ '^duration: [0-9.]+ ms  plan:\n';
            logged_at := left(entry ->> 'timestamp', 23)::timestamp AT TIME ZONE zone; -- abbreviations are ambiguous
            query_id := (entry ->> 'query_id')::bigint;
            duration_ms := substring(entry ->> 'message' FROM '^duration: ([0-9.]+) ms')::double precision;
            plan := substring(entry ->> 'message' FROM 'plan:\n(.*)$');
            RETURN NEXT;
        EXCEPTION WHEN data_exception THEN -- half a line, from a crash
            unreadable := unreadable + 1;
        END;
    END LOOP;
    file := files[n];
    head := md5(coalesce(pg_read_binary_file(directory || files[n], 0, least(next_byte, 256), true), ''));
    behind := greatest(sizes[n] - next_byte, 0) + coalesce((SELECT sum(s) FROM unnest(sizes[n + 1:]) s), 0);
    logged_at := NULL;
    query_id := NULL;
    duration_ms := NULL;
    plan := NULL;
    RETURN NEXT; -- where to go on from
END
$function$;
REVOKE ALL ON FUNCTION ooda.plan_log(text, bigint, text, integer) FROM PUBLIC;
GRANT USAGE ON SCHEMA ooda TO ooda_observe;
GRANT EXECUTE ON FUNCTION ooda.plan_log(text, bigint, text, integer) TO ooda_observe;
COMMIT;
