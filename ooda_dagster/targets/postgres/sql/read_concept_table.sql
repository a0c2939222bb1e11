-- Our table of which concept rows are of, and the schema that it belongs in: are they there, and what may this role?
select n.oid is not null as schema_there,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_schema_privilege(n.oid, 'create'),
                false) as may_create,
       c.oid, pg_catalog.obj_description(c.oid, 'pg_class') as comment,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select'),
                false) as readable,
       -- A write could run code of others by a trigger, a rule, or what a view does instead; policies are the owner's.
       coalesce(c.relowner = (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user)
                and c.relkind = 'r' and not c.relhastriggers and not c.relhasrules, false) as own,
       array(select pg_catalog.format('%%s %%s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
             from pg_catalog.pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns
from (values (%(schema)s::text, %(name)s::text)) as wanted(schema, name)
left join pg_catalog.pg_namespace n on n.nspname = wanted.schema
left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
