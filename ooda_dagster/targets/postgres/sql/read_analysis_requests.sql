-- Requests for an analysis of the last days that were not taken up yet. Ids may be committed out of order.
-- The key holds the time too: a table that was made anew, or another database's, gives the same ids again.
select k.key, requested_at, requested_by::text as requested_by, lookback_hours
from ooda.analysis_request
cross join lateral (select hashtextextended(request_id || ' ' || extract(epoch from requested_at), 0) as key) k
where not (%(seen)s::int8multirange @> k.key) and requested_at > now() - interval '7 days'
order by request_id
limit 1000
