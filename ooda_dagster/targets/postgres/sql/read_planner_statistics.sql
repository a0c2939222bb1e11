-- What the planner knows of a table, of all that inherits from it (ANALYZE comes to them too) and of their indexes, as
-- the current role may see it, and what keeps it from being put back. From PostgreSQL 18 on. %(values)s: with values.
with recursive tree(oid) as (
    select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = %(table)s
    union
    select i.inhrelid from pg_catalog.pg_inherits i join tree t on t.oid = i.inhparent
), part(oid, table_oid) as (
    select t.oid, t.oid from tree t
    union all
    select i.indexrelid, t.oid from tree t join pg_catalog.pg_index i on i.indrelid = t.oid
)
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind = 'i' as is_index,
       pg_catalog.jsonb_build_object('relpages', c.relpages, 'reltuples', c.reltuples,
           'relallvisible', c.relallvisible, 'relallfrozen', c.relallfrozen) as numbers,
       greatest(pg_catalog.pg_stat_get_last_vacuum_time(p.table_oid),
                pg_catalog.pg_stat_get_last_autovacuum_time(p.table_oid)) as vacuumed_at,
       c.relrowsecurity and pg_catalog.row_security_active(c.oid) as secured,
       exists (select from pg_catalog.pg_statistic_ext e where e.stxrelid = c.oid) as extended,
       attribute.hidden, attribute.own_kinds, attribute.columns, s.columns as statistics
from part p
join pg_catalog.pg_class c on c.oid = p.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select pg_catalog.min(a.attname::text) filter (
               where not pg_catalog.has_column_privilege(c.oid, a.attnum, 'select')
               -- of an index, only expressions have statistics
               and (c.relkind <> 'i' or (select i.indkey[a.attnum - 1] = 0 from pg_catalog.pg_index i
                                         where i.indexrelid = c.oid))
           ) as hidden,
           pg_catalog.min(a.attname::text) filter (where t.typanalyze <> 0 and t.typanalyze::oid <> all (array[
               'pg_catalog.array_typanalyze'::regproc::oid, 'pg_catalog.range_typanalyze'::regproc::oid,
               'pg_catalog.multirange_typanalyze'::regproc::oid, 'pg_catalog.ts_typanalyze'::regproc::oid
           ])) as own_kinds,
           coalesce(pg_catalog.jsonb_object_agg(a.attnum, pg_catalog.jsonb_build_array(
               a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))), '{}') as columns
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
) attribute
cross join lateral (
    select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'oid', c.oid::bigint, 'attnum', a.attnum, 'inherited', d.inherited, 'name', a.attname,
               'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
               'bytes', pg_catalog.octet_length(v.values::text),
               -- textsend: converts nothing in a database of no encoding
               'digest', pg_catalog.encode(pg_catalog.sha256(pg_catalog.textsend(v.values::text)), 'hex'),
               'counts', pg_catalog.encode(pg_catalog.sha256(pg_catalog.textsend(v.counts::text)), 'hex'),
               'values', case when %(values)s then v.values end) order by a.attnum, d.inherited), '[]') as columns
    from pg_catalog.pg_stats d
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = d.attname and not a.attisdropped
    cross join lateral (
        select pg_catalog.jsonb_build_object(
                   'null_frac', d.null_frac::text, 'avg_width', d.avg_width::text, 'n_distinct', d.n_distinct::text,
                   'correlation', d.correlation::text, 'most_common_freqs', d.most_common_freqs::text,
                   'most_common_elem_freqs', d.most_common_elem_freqs::text,
                   'range_empty_frac', d.range_empty_frac::text) as counts,
               pg_catalog.jsonb_build_object(
                   'most_common_vals', d.most_common_vals::text, 'histogram_bounds', d.histogram_bounds::text,
                   'most_common_elems', d.most_common_elems::text,
                   'elem_count_histogram', d.elem_count_histogram::text,
                   'range_length_histogram', d.range_length_histogram::text,
                   'range_bounds_histogram', d.range_bounds_histogram::text) as rest
    ) w
    cross join lateral (select w.counts, w.counts || w.rest as values) v
    where d.schemaname = n.nspname and d.tablename = c.relname
) s
where c.relkind in ('r', 'p', 'm', 'f', 'i')
order by c.oid
