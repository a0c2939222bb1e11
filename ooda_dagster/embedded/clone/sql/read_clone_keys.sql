-- Keys of the clone's indexes with the statistics of their columns, or of their expressions.
select n.nspname, c.relname, k.n <= i.indnkeyatts as is_key, a.attlen, a.attalign::text, s.avg_width, s.null_frac,
       s.n_distinct, s.most_common_freqs,
       exists (select from pg_catalog.pg_opclass o
               join pg_catalog.pg_amproc p on p.amprocfamily = o.opcfamily and p.amproclefttype = o.opcintype
               where k.n <= i.indnkeyatts and o.oid = i.indclass[k.n - 1] and p.amprocnum = 4) as deduplicates
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid and c.relkind = 'i'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class t on t.oid = i.indrelid
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, n)
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.n
left join pg_catalog.pg_attribute ta on ta.attrelid = t.oid and ta.attnum = k.attnum and k.attnum <> 0
left join lateral (
    select m.avg_width, m.null_frac, m.n_distinct, m.most_common_freqs
    from clone_meta.attribute m
    where (k.attnum <> 0 and m.schema_name = tn.nspname and m.table_name = t.relname and m.column_name = ta.attname)
       or (k.attnum = 0 and m.schema_name = n.nspname and m.table_name = c.relname and m.column_name = a.attname)
    order by m.inherited limit 1) s on true
where n.nspname not in ('pg_catalog', 'information_schema', 'clone_meta') and n.nspname !~ '^pg_(toast|temp)'
  and (%(name)s::text is null or c.relname like %(name)s)
order by n.nspname, c.relname, k.n
