-- Of our table of which concept rows are of: has an action rows in it, up to which id, and is it empty?
select mine.last is not null as bound, mine.last, not exists (select from {table}) as empty
from (values (1)) as one(row)
left join lateral (
    select t.atom_id::text as last from {table} t
    where t.concept_id = %(concept_id)s and t.action_id = %(action_id)s::uuid
    order by t.concept_id desc, t.atom_id desc limit 1
) mine on true
