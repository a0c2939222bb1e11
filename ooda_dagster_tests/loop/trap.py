"""A database that somebody wants to be executed in: functions that sing when one of our sessions calls them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ooda_dagster_tests.support import Database, make_orders

#: `canary` is what a trap writes to; where its session may not write, the server's log still tells that it was called.
TRAPS = """
create schema trap;
grant usage, create on schema trap to public;
create table public.canary (what text);
create function trap.sing(what text) returns void language plpgsql volatile security definer as $$
begin
    if pg_catalog.current_setting('application_name') like 'ooda/%' then
        raise log 'canary sings: %', what;
        insert into public.canary values (what);
    end if;
end $$;
create function trap.liar(a int) returns int language plpgsql immutable as
    $$ begin perform trap.sing('liar'); return a; end $$;
create function trap.guess(a int) returns int language plpgsql stable as
    $$ begin perform trap.sing('guess'); return a; end $$;
create function trap.louse(a int) returns int language plpgsql volatile as
    $$ begin perform trap.sing('louse'); return a; end $$;
create function trap.fails(a int) returns int language plpgsql immutable as
    $$ begin raise exception 'never %', a; end $$;
create function trap.same(a int, b int) returns bool language plpgsql immutable as
    $$ begin perform trap.sing('same'); return a operator(pg_catalog.=) b; end $$;
create operator trap.=== (leftarg = int, rightarg = int, function = trap.same);
create domain trap.checked as int check (trap.liar(value) > 0);
create function trap.fire() returns trigger language plpgsql as
    $$ begin perform trap.sing('trigger'); return new; end $$;
create function trap.rows() returns setof int language plpgsql as
    $$ begin perform trap.sing('rows'); return next 1; end $$;
"""


def lay(database: Database, rows: int = 20_000) -> None:
    """Orders that want an index, among traps; a superuser's, so that each may write."""
    make_orders(database, rows)
    database.execute(TRAPS)
    database.execute(
        "create view trapped as select id, trap.liar(customer) as customer from orders; "
        "create table defaulted (a int default trap.louse(1), b trap.checked, "
        "c int generated always as (trap.liar(a)) stored); "
        "create table ruled (a int); create rule r as on insert to ruled do instead select trap.sing('rule'); "
        "create trigger fire before update on orders for each row execute function trap.fire(); "
        "alter table orders owner to inference_app; analyze orders"
    )


@contextmanager
def silent(database: Database) -> Iterator[None]:
    """In the block no session of ours calls a trap, and none writes through one."""
    begin = database.cluster.log_file.stat().st_size
    yield
    with open(database.cluster.log_file, encoding="utf-8", errors="replace") as log:
        log.seek(begin)
        assert [line for line in log if "canary sings" in line] == []
    assert database.execute("select * from public.canary") == []


def mostly_slow(names: Iterable[str], *quick: str) -> list[Any]:
    """All of them; but for some they belong to the full matrix."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]
