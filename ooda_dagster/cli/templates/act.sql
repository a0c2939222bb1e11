
-- Acting, for mode approve or auto: becomes the tables' owner for the one journalled statement.
-- It could do what that owner can: leave it out as long as you only want proposals.
CREATE ROLE ooda_act LOGIN CONNECTION LIMIT 2;
GRANT pg_monitor TO ooda_act; -- load and old transactions are looked at before each deed
