-- Functions of users, but not those that come with a type, as definitions: statements, defaults and index expressions call them.
select p.oid::regprocedure::text as name, pg_catalog.pg_get_functiondef(p.oid) as definition
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
  and p.prokind in ('f', 'p') and p.prorettype not in ('event_trigger'::regtype, 'trigger'::regtype)
  and not exists (select from pg_catalog.pg_depend d
                  where d.objid = p.oid and d.classid = 'pg_catalog.pg_proc'::regclass and d.deptype in ('e', 'i'))
order by p.oid
