-- Requests for an analysis of the last days that were not taken up yet. Ids may be committed out of order.
select request_id, requested_at, requested_by::text as requested_by, lookback_hours
from ooda.analysis_request
where not (%(seen)s::int8multirange @> request_id) and requested_at > now() - interval '7 days'
order by request_id
limit 1000
