-- Where would this session's index be written, and where sorted? '' is the server's own directory.
with set_to as (
    select 'index' as use, name from (select current_setting('default_tablespace')) d(name)
    union all
    select 'sort', nullif(pg_catalog.btrim(name, ' "'), '')
    from pg_catalog.regexp_split_to_table(current_setting('temp_tablespaces'), ',') t(name)
), found as (
    select s.use, coalesce(t.oid, d.dattablespace) as oid
    from set_to s
    cross join (select dattablespace from pg_catalog.pg_database where datname = current_database()) d
    left join pg_catalog.pg_tablespace t on t.spcname = s.name
)
select distinct f.use, t.spcname as name, pg_catalog.pg_tablespace_location(t.oid) as location
from found f join pg_catalog.pg_tablespace t on t.oid = f.oid
order by f.use, t.spcname
