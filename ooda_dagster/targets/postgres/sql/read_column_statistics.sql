-- What ANALYZE knows of the columns of some tables, as far as the role may see it. %(tables)s: 'schema.table' quoted.
select s.schemaname as schema, s.tablename as table, s.attname as name, s.null_frac, s.avg_width, s.n_distinct,
       s.most_common_vals::text::text[] as common_values, s.most_common_freqs as common_freqs,
       s.histogram_bounds::text::text[] as histogram, s.correlation
from pg_catalog.pg_stats s
where pg_catalog.format('%%I.%%I', s.schemaname, s.tablename) = any(%(tables)s)
order by s.inherited desc
