-- How often rows of a sample agree: counts of rows with the same value, alone and in pairs, become means over the rows.
with s as materialized (select {columns} from {table} tablesample system ({percent}) where {known} limit {rows}),
w as (select {counts} from s)
select count(*) as n, {means} from w
