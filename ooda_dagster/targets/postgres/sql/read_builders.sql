-- Sessions of ours that build in other databases of this server.
select l.pid, d.datname as database, coalesce(a.application_name, '') as name
from pg_catalog.pg_locks l
join pg_catalog.pg_database d on d.oid = l.database
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.classid = %(space)s::bigint::oid and l.objid = 0 and l.objsubid = 2
  and l.pid <> pg_catalog.pg_backend_pid() and d.datname <> current_database()
order by l.pid
