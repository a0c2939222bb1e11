"""Are literals taken out of statements, and nothing else?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.chain import digest_of
from ooda_dagster.core.planner_statistics import RESTORE
from ooda_dagster.core.redact import readable, without_literals


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX CONCURRENTLY i ON public.orders USING btree (customer DESC, placed) INCLUDE (note)",
        "CREATE INDEX CONCURRENTLY i ON public.orders USING btree (a) WHERE b IS NOT NULL",
        "DROP INDEX CONCURRENTLY public.i",
        "ANALYZE public.orders",
        "CREATE STATISTICS public.s (ndistinct, mcv) ON a, b FROM public.orders",
        "ALTER TABLE public.orders ALTER COLUMN status SET STATISTICS 500",
        "ALTER TABLE public.orders ALTER COLUMN status SET STATISTICS -1",
        RESTORE,
    ],
)
def test_what_holds_no_literal_stays_exact(text: str) -> None:
    assert readable([text]) == [{"text": text, "sha256": digest_of(text), "exact": True}]
    assert without_literals({"statements": [text], "n": 1}) == {"statements": [text], "n": 1}


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX i ON orders (a) WHERE status <> 'm4rk'",
        "CREATE INDEX i ON orders ((coalesce(a, 'm4rk')))",
        "CREATE INDEX i ON orders ((a = $$m4rk$$))",
        "CREATE INDEX i ON orders (a) WHERE b > 7077",
        "CREATE INDEX i ON orders (a) WHERE b = 'm4rk' -- SET STATISTICS 5",
        "COMMENT ON INDEX i IS 'm4rk'",
        "not to be read 'm4rk",
    ],
)
def test_literals_are_left_out_and_the_digest_is_that_of_the_exact_one(text: str) -> None:
    (told,) = readable([text])
    assert not {"m4rk", "7077"} & set(told["text"].replace("'", " ").split())
    assert "m4rk" not in told["text"]
    assert (told["sha256"], told["exact"]) == (digest_of(text), False)
    assert without_literals({"undo": [text]}) == {"undo": [{"sha256": digest_of(text)}]}
