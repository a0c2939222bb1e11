
-- Optional: an analysis can be asked for from inside the database, by  SELECT ooda.request_analysis(48);
--    The loop looks every 10 seconds (sensor ooda_requests) and starts a cycle with that lookback.
BEGIN;
DO $check$
BEGIN
    -- The function below runs as its owner: what it writes to must not be somebody else's.
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace
               WHERE nspname = 'ooda' AND nspowner <> current_user::pg_catalog.regrole)
       OR EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'ooda' AND c.relname = 'analysis_request'
                    AND c.relowner <> current_user::pg_catalog.regrole) THEN
        RAISE EXCEPTION 'schema ooda or its table analysis_request belongs to another role; run this part as that role';
    END IF;
END
$check$;
CREATE SCHEMA IF NOT EXISTS ooda;
REVOKE ALL ON SCHEMA ooda FROM PUBLIC;

CREATE TABLE IF NOT EXISTS ooda.analysis_request (
    request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    requested_by name NOT NULL,
    lookback_hours double precision NOT NULL
);
REVOKE ALL ON ooda.analysis_request FROM PUBLIC;

CREATE OR REPLACE FUNCTION ooda.request_analysis(lookback_hours double precision DEFAULT 24) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    asked bigint;
    id bigint;
BEGIN
    IF $1 IS NULL OR NOT ($1 > 0 AND $1 <= 8760) THEN
        RAISE EXCEPTION 'lookback_hours must be above 0 and at most 8760' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM ooda.analysis_request WHERE requested_at < clock_timestamp() - interval '7 days';
    SELECT count(*) INTO asked FROM ooda.analysis_request
    WHERE requested_by = session_user AND requested_at > clock_timestamp() - interval '1 minute';
    IF asked >= 6 THEN
        RAISE EXCEPTION 'role % asked for % analyses within a minute; one is on its way, or wait', session_user, asked
            USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    INSERT INTO ooda.analysis_request (requested_at, requested_by, lookback_hours)
    VALUES (clock_timestamp(), session_user, $1)
    RETURNING request_id INTO id;
    RETURN id;
END
$function$;
REVOKE ALL ON FUNCTION ooda.request_analysis(double precision) FROM PUBLIC;

GRANT USAGE ON SCHEMA ooda TO ooda_observe;
GRANT SELECT ON ooda.analysis_request TO ooda_observe;
COMMIT;
-- For every role that may ask:
--   GRANT USAGE ON SCHEMA ooda TO app; GRANT EXECUTE ON FUNCTION ooda.request_analysis(double precision) TO app;
