-- What a page consumes: its keys, by the minute of the request, which tells how long they are kept.
union all
select 'keys', null, floor(requested_s / 60) * 60, null, null, count(*), 0, 0, null, null, null, null, null, null, null,
       max(requested_s), range_agg(int8range(key, key, '[]'))::text, null, null
from requests
group by floor(requested_s / 60) * 60
