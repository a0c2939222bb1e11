-- Indexes of the carried relations, with the constraint that each stands for.
select i.indexrelid::bigint as oid, i.indrelid::bigint as relation, n.nspname as schema, c.relname as name,
       c.relkind::text as kind, c.relpages as pages, c.reltuples as rows, m.amname as method,
       case when c.relkind = 'i' then {size} else 0 end as bytes,
       pg_catalog.pg_get_indexdef(i.indexrelid) as definition, i.indisvalid as valid,
       i.indexprs is not null as has_expressions,
       k.conname as constraint_name, pg_catalog.pg_get_constraintdef(k.oid) as constraint_definition,
       pg_catalog.array_to_string(c.reloptions, ', ') as options
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_am m on m.oid = c.relam
left join pg_catalog.pg_constraint k
    on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x') and k.conrelid = i.indrelid
where i.indrelid = any(%(oids)s::oid[])
order by (c.relkind = 'i'), c.oid
