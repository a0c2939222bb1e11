-- Checks (they exclude partitions) and foreign keys between carried relations (they sharpen the size of joins).
select k.conname as name, k.conrelid::bigint as relation, pg_catalog.pg_get_constraintdef(k.oid) as definition
from pg_catalog.pg_constraint k
where k.conrelid = any(%(oids)s::oid[]) and k.conparentid = 0 and k.conislocal
  and (k.contype = 'c' or (k.contype = 'f' and k.confrelid = any(%(oids)s::oid[])))
order by k.contype, k.oid
