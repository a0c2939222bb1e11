
-- Level 4. EXPLAIN of writes, and what extended statistics hold: the server asks for the right to write, and for
-- ownership. ooda_observe gets neither. Writes are explained in the statistics clone, outside this server, which needs
-- level 2 alone; nothing is to be granted here.
