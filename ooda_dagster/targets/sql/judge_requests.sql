-- Which requests count? Two steps after `requests`, for PostgreSQL, DuckDB and Spark SQL alike.
-- requests: key, requested_s (Unix time), duration_ms, status (lower case), model, operation, tokens.
numbered as (
    select r.*, row_number() over (partition by key order by requested_s, duration_ms) as nth
    from requests r
),
judged as (
    select coalesce(model, '(none)') as model, coalesce(operation, '(none)') as operation, requested_s, duration_ms,
           case when tokens >= 0 and tokens <= 1e300 then tokens else 0 end as tokens,
           case when duration_ms > 0 then ln(duration_ms) else 0 end as log_ms,
           case when status in ({failed}) then 1 else 0 end as failed,
           case
               when nth > 1 and key is not null then {twice}
               when requested_s is null or not (requested_s >= 0 and requested_s <= {latest_ever_s}) then {no_time}
               when requested_s > {latest_s} then {future}
               when duration_ms < 0 then {negative}
               when duration_ms is null or not (duration_ms <= {longest_ms}) then {no_duration}
               when not coalesce(status in ({known}), false) then {unknown}
           end as reason
    from numbered
)
