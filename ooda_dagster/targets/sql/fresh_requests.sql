-- Those that ended a moment ago and count: they may raise an alarm. Those that are alike are one row.
union all
select 'fresh', null, null, model, operation, count(*), 0, failed, duration_ms, null, null, null, null, null, null, null,
       null, null, null
from judged
where reason is null and requested_s + duration_ms / 1000 >= {fresh_s}
group by model, operation, failed, duration_ms
