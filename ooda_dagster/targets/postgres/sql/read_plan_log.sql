-- The next part of the plan log, by the reader that a DBA installs: ooda init --print-sql --level 3.
select file, next_byte, head, behind, unreadable, logged_at, query_id, duration_ms, plan
from ooda.plan_log(%(file)s, %(byte)s, %(head)s, %(most)s)
