-- Which relation or index is a child of which.
select i.inhrelid::bigint as child, i.inhparent::bigint as parent, c.relkind::text as kind
from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
where i.inhrelid = any(%(oids)s::oid[])
order by i.inhrelid, i.inhseqno
