-- Since when do the counters count, and how many entries were evicted?
select stats_reset, dealloc from {schema}.pg_stat_statements_info
