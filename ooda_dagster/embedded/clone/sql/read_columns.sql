-- Columns of the carried relations.
select a.attrelid::bigint as relation, a.attname as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
       a.attnotnull as not_null, a.attidentity::text as identity, a.attgenerated::text as generated,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) as expression,
       case when a.attcollation <> t.typcollation then cn.nspname end as collation_schema,
       case when a.attcollation <> t.typcollation then co.collname end as collation_name
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'f')
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_catalog.pg_collation co on co.oid = a.attcollation
left join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace
where a.attrelid = any(%(oids)s::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
