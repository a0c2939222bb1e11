-- What do replication slots keep? `safe_bytes`: how much may be written before max_slot_wal_keep_size drops the slot's.
select s.slot_name as name, s.active, s.wal_status, s.safe_wal_size::float8 as safe_bytes,
       case when not pg_catalog.pg_is_in_recovery()
            then pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::float8 end as retained_bytes,
       pg_catalog.age(s.xmin)::bigint as xmin_age
from pg_catalog.pg_replication_slots s
where s.restart_lsn is not null and s.wal_status is distinct from 'lost'
order by s.slot_name
