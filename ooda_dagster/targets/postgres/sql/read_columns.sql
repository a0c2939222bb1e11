-- Columns of user tables; has_btree: its type has a default btree order.
select a.attrelid as table_oid, a.attname as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
       a.attlen as type_length, a.attalign::text as type_align, a.attnotnull as not_null,
       case when a.attcollation <> t.typcollation then pg_catalog.format('%I.%I', cn.nspname, co.collname) end as collation,
       (t.typcategory in ('E', 'A', 'R') or b.typname in ('varchar', 'bpchar')
        or exists (select from pg_catalog.pg_opclass o
                   join pg_catalog.pg_am m on m.oid = o.opcmethod and m.amname = 'btree'
                   where o.opcdefault and o.opcintype = b.oid)) as has_btree
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_type t on t.oid = a.atttypid
join pg_catalog.pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
left join pg_catalog.pg_collation co on co.oid = a.attcollation
left join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'm', 'f') and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%'
order by a.attrelid, a.attnum
