-- What they come to: per minute, model and operation where they count, else per reason. Logs are over durations above zero.
select reason,
       case when reason is null then floor(requested_s / 60) * 60 end as minute_s,
       case when reason is null then model end as model,
       case when reason is null then operation end as operation,
       count(*) as n,
       cast(sum(case when duration_ms = 0 then 1 else 0 end) as bigint) as n_zero,
       cast(sum(failed) as bigint) as failed,
       sum(case when reason is null then duration_ms end) as sum_ms,
       sum(case when reason is null then duration_ms * duration_ms end) as sum_ms_sq,
       sum(case when reason is null then log_ms end) as sum_log_ms,
       sum(case when reason is null then log_ms * log_ms end) as sum_log_ms_sq,
       max(case when reason is null then duration_ms end) as max_ms,
       sum(case when reason is null then tokens end) as tokens,
       min(case when reason is null then requested_s end) as first_s,
       max(case when reason is null then requested_s end) as last_s
from judged
group by reason,
         case when reason is null then floor(requested_s / 60) * 60 end,
         case when reason is null then model end,
         case when reason is null then operation end
