-- Normalised texts of some query ids.
select distinct on (queryid) queryid as query_id, query as text
from {schema}.pg_stat_statements(true)
where dbid = %(database)s and queryid = any(%(query_ids)s)
