-- Indexes of user tables with their keys, their use, and what depends on them; or one, %(schema)s.%(name)s.
-- The definition is null for an index that is dropped while we read. Of an expression, only the definition tells whether
-- its collation is its own. What deparses a definition waits for whoever holds the table: on such a table definitions,
-- expressions and predicates are left out, unless the index was asked for by name.
with held as materialized (
    select relation as oid from pg_catalog.pg_locks
    where locktype = 'relation' and mode = 'AccessExclusiveLock'
      and database = (select oid from pg_catalog.pg_database where datname = current_database())
)
select c.oid, n.nspname as schema, c.relname as name, i.indrelid as table_oid, t.relname as table,
       case when is_held then '' else pg_catalog.pg_get_indexdef(c.oid) end as definition, m.amname as method,
       case when c.relkind <> 'i' then 0
            when exists (select from held h where h.oid in (c.oid, i.indrelid)) then c.relpages * 8192::bigint
            else coalesce(pg_catalog.pg_relation_size(c.oid), 0) end as bytes,
       coalesce(s.idx_scan, 0) as scans, i.indisunique as unique, i.indisprimary as primary,
       (i.indisvalid and i.indisready and i.indislive) as valid, i.indisreplident as replica_identity,
       (select k.contype::text from pg_catalog.pg_constraint k
        where k.conindid = c.oid and k.contype in ('p', 'u', 'x') limit 1) as constraint,
       case when not veiled then pg_catalog.pg_get_expr(i.indpred, i.indrelid) end as predicate,
       pg_catalog.obj_description(c.oid, 'pg_class') as comment,
       -- By a person, as we build none so; a tablespace may also come from a default.
       (c.reloptions is not null or c.reltablespace <> 0 and current_setting('default_tablespace') = ''
           and not exists (select from pg_catalog.pg_db_role_setting d
                           where pg_catalog.array_to_string(d.setconfig, ' ') like '%%default_tablespace=%%')) as altered,
       exists (select from pg_catalog.pg_attribute o where o.attrelid = c.oid and o.attoptions is not null) as has_options,
       c.relispartition as attached,
       case when not veiled then (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'name', a.attname,
                   'expression', case when k.attnum = 0 then pg_catalog.pg_get_indexdef(c.oid, k.n::int, true) end,
                   'key', k.n <= i.indnkeyatts,
                   'option', case when k.n <= i.indnkeyatts then i.indoption[k.n - 1] else 0 end,
                   'opclass', case when k.n <= i.indnkeyatts and not o.opcdefault
                              then pg_catalog.format('%%I.%%I', oc.nspname, o.opcname) end,
                   'collation', case when k.n <= i.indnkeyatts
                                      and i.indcollation[k.n - 1] <> coalesce(a.attcollation, 0)
                                then pg_catalog.format('%%I.%%I', cn.nspname, co.collname) end) order by k.n)
        from pg_catalog.unnest(i.indkey::int2[]) with ordinality k(attnum, n)
        left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum and k.attnum <> 0
        left join pg_catalog.pg_opclass o on k.n <= i.indnkeyatts and o.oid = i.indclass[k.n - 1]
        left join pg_catalog.pg_namespace oc on oc.oid = o.opcnamespace
        left join pg_catalog.pg_collation co on k.n <= i.indnkeyatts and co.oid = i.indcollation[k.n - 1]
        left join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace) end as keys
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_class t on t.oid = i.indrelid
join pg_catalog.pg_namespace n on n.oid = t.relnamespace
join pg_catalog.pg_am m on m.oid = c.relam
left join pg_catalog.pg_stat_all_indexes s on s.indexrelid = c.oid
cross join lateral (
    select %(schema)s::text is null and exists (select from held h where h.oid = i.indrelid) as is_held) u
cross join lateral (select is_held and (i.indexprs is not null or i.indpred is not null) as veiled) v
where (%(schema)s::text is null or (n.nspname = %(schema)s and c.relname = %(name)s))
  and t.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema')
  and n.nspname not like 'pg\_toast%%'
order by c.oid
