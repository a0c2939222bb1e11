-- Our table of which concept rows are of, and the schema that it belongs in: are they there, and what may this role?
select n.oid is not null as schema_there,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_schema_privilege(n.oid, 'create'),
                false) as may_create,
       c.oid, pg_catalog.obj_description(c.oid, 'pg_class') as comment,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select'),
                false) as readable,
       -- A write runs code of others by a trigger, a rule, a view, a child, a check, a default, a policy that is forced
       -- upon the owner, or an index by a function.
       coalesce(c.relowner = (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user)
                and c.relkind = 'r' and c.relchecks = 0 and not c.relforcerowsecurity
                and not exists (select from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal)
                and not exists (select from pg_catalog.pg_rewrite w where w.ev_class = c.oid)
                and not exists (select from pg_catalog.pg_attrdef d where d.adrelid = c.oid)
                and not exists (select from pg_catalog.pg_inherits h where c.oid in (h.inhparent, h.inhrelid))
                and not exists (select from pg_catalog.pg_index i
                                cross join pg_catalog.unnest(i.indclass::oid[]) as used
                                join pg_catalog.pg_opclass o on o.oid = used
                                where i.indrelid = c.oid
                                  and (i.indexprs is not null or i.indpred is not null
                                       or o.opcnamespace <> 'pg_catalog'::pg_catalog.regnamespace)), false) as own,
       array(select pg_catalog.format('%%s %%s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
             from pg_catalog.pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns
from (values (%(schema)s::text, %(name)s::text)) as wanted(schema, name)
left join pg_catalog.pg_namespace n on n.nspname = wanted.schema
left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
