-- How often rows of a sample share a value that is not among the common ones of the column's statistics.
with known as materialized (
    select unnest(p.most_common_vals::text::text[]) as value from pg_catalog.pg_stats p
    where p.schemaname = {schema} and p.tablename = {name} and p.attname = {label} and not p.inherited
),
s as materialized (
    -- by the type's output function, as in pg_stats: a cast differs from it for inet, char(n) and bool
    select pg_catalog.concat({column}) as value from {table} tablesample system ({percent}) where {column} is not null limit {rows}
),
w as (select value, count(*)::float8 as k, value not in (select value from known) as rare from s group by value)
select coalesce(sum(k), 0)::bigint as n,
       coalesce(sum(k * (k - 1)) filter (where rare) / nullif(sum(k) filter (where rare), 0), 0) as mates,
       coalesce(sum(k) filter (where rare) / sum(k), 0) as share
from w
