-- Enums, domains, ranges and composite types of users, oldest first: a type is younger than what it is made of.
select n.nspname as schema, t.typname as name, t.typtype::text as kind,
       pg_catalog.format_type(t.typbasetype, t.typtypmod) as base, t.typnotnull as not_null,
       array(select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = t.oid order by e.enumsortorder) as labels,
       array(select 'constraint ' || pg_catalog.quote_ident(k.conname) || ' ' || pg_catalog.pg_get_constraintdef(k.oid)
             from pg_catalog.pg_constraint k where k.contypid = t.oid and k.contype = 'c') as checks,
       array(select pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
             from pg_catalog.pg_attribute a
             where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum) as attributes,
       (select pg_catalog.format_type(r.rngsubtype, null) from pg_catalog.pg_range r where r.rngtypid = t.oid) as subtype
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_class c on c.oid = t.typrelid
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
  and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and c.relkind = 'c'))
  and not exists (select from pg_catalog.pg_depend d
                  where d.objid = t.oid and d.classid = 'pg_catalog.pg_type'::regclass and d.deptype = 'e')
order by t.oid
