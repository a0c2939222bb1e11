-- How statistics of some tables are kept: when they were made, when autovacuum would come, targets of columns, extended
-- statistics, and whether a worker or somebody is at it now. %(tables)s: 'schema.table' quoted. A target of -1 (before PostgreSQL 17) or null is the default.
select n.nspname as schema, c.relname as table, c.oid, pg_catalog.pg_get_userbyid(c.relowner) as owner,
       current_setting('track_counts')::bool as tracked,
       s.last_analyze, greatest(s.last_analyze, s.last_autoanalyze) as last_known,
       case when c.relkind <> 'p' and current_setting('autovacuum')::bool and coalesce(o.enabled, true)
            then coalesce(o.threshold, current_setting('autovacuum_analyze_threshold')::float8)
                 + coalesce(o.scale, current_setting('autovacuum_analyze_scale_factor')::float8)
                   * greatest(c.reltuples, 0) end as autovacuum_rows,
       current_setting('default_statistics_target')::int as default_target,
       (select coalesce(pg_catalog.jsonb_object_agg(a.attname, a.attstattarget), '{}')
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0) as targets,
       (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'oid', e.oid::bigint, 'schema', en.nspname, 'name', e.stxname, 'kinds', e.stxkind::text[],
                   'expressions', e.stxexprs is not null,
                   'comment', pg_catalog.obj_description(e.oid, 'pg_statistic_ext'),
                   'columns', (select pg_catalog.jsonb_agg(a.attname) from pg_catalog.pg_attribute a
                               where a.attrelid = c.oid and a.attnum = any(e.stxkeys))) order by e.oid), '[]')
        from pg_catalog.pg_statistic_ext e join pg_catalog.pg_namespace en on en.oid = e.stxnamespace
        where e.stxrelid = c.oid) as extended,
       exists (select from pg_catalog.pg_stat_progress_analyze p
               where p.relid = c.oid and p.datname = pg_catalog.current_database())
       or exists (select from pg_catalog.pg_stat_progress_vacuum p
                  where p.relid = c.oid and p.datname = pg_catalog.current_database()) as at_work,
       pg_catalog.to_regproc('pg_catalog.pg_restore_attribute_stats') is not null as taken_back
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid
left join lateral (
    select pg_catalog.bool_and(option_value::bool) filter (where option_name = 'autovacuum_enabled') as enabled,
           max(option_value::float8) filter (where option_name = 'autovacuum_analyze_threshold') as threshold,
           max(option_value::float8) filter (where option_name = 'autovacuum_analyze_scale_factor') as scale
    from pg_catalog.pg_options_to_table(c.reloptions)
) o on true
where pg_catalog.format('%%I.%%I', n.nspname, c.relname) = any(%(tables)s) and c.relkind in ('r', 'p', 'm')
