-- Who are we, where, and what may we see?
select current_setting('server_version_num')::int as server_version,
       current_database() as database,
       (select oid from pg_catalog.pg_database where datname = current_database()) as database_oid,
       current_user as role,
       (select rolsuper from pg_catalog.pg_roles where rolname = current_user) as superuser,
       pg_catalog.pg_is_in_recovery() as in_recovery,
       current_setting('server_encoding') as encoding,
       exists (select from pg_catalog.pg_database d where d.datallowconn
               and pg_catalog.pg_encoding_to_char(d.encoding) <> current_setting('server_encoding')) as mixed_encodings,
       pg_catalog.pg_postmaster_start_time() as started_at,
       pg_catalog.pg_backend_pid() as backend_pid,
       pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage') as reads_stats,
       pg_catalog.pg_has_role(current_user, 'pg_read_all_settings', 'usage') as reads_settings,
       -- The reader of `ooda init --print-sql --level 3`, where the log has plans for it.
       (exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                where n.nspname = 'ooda' and p.proname = 'plan_log' and p.pronargs = 4
                  and pg_catalog.has_schema_privilege(n.oid, 'usage')
                  and pg_catalog.has_function_privilege(p.oid, 'execute'))
        and current_setting('log_destination') like '%jsonlog%'
        and coalesce(current_setting('auto_explain.log_min_duration', true), '-1') <> '-1') as plan_log,
       (select coalesce(pg_catalog.jsonb_object_agg(e.extname, n.nspname), '{}')
        from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace) as extensions,
       (select coalesce(pg_catalog.array_agg(t.label order by t.bytes desc), '{}')
        from (select pg_catalog.format('%I.%I', n.nspname, c.relname) as label,
                     c.relpages::bigint * 8192 as bytes
              from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              where c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't'
                and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%'
                and not (pg_catalog.has_table_privilege(c.oid, 'select')
                         and pg_catalog.has_schema_privilege(n.oid, 'usage'))
                and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid
                                and d.classid = 'pg_catalog.pg_class'::regclass and d.deptype = 'e')) t) as unreadable,
       (select coalesce(pg_catalog.array_agg(pg_catalog.format('%I.%I', n.nspname, c.relname) order by c.oid), '{}')
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relrowsecurity and pg_catalog.row_security_active(c.oid)) as row_secured
