
-- Level 2. Column statistics and EXPLAIN of SELECT, for index advice: needs SELECT on the tables.
{select}
