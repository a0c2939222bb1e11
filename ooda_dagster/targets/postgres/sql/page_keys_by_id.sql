-- What a page consumes: its ids.
union all
select 'keys', null, null, null, null, count(*), 0, 0, null, null, null, null, null, null, null, max(requested_s),
       range_agg(int8range(key, key, '[]'))::text, min(key), max(key)
from requests
having count(*) > 0
