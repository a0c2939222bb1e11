"""The SQL that gives our roles what they need: one script a level, one for acting, as a DBA would run them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import files

from ooda_dagster.core.concept_binding import grants
from ooda_dagster.core.identifiers import quote_identifier

#: From this major version on, a membership says whether the member inherits, and whether it may SET ROLE.
SET_OPTION_SINCE = 16
_LEVELS = ("observe.sql", "statistics.sql", "plan_log.sql", "writes.sql")
_NEEDS_SUPERUSER = "plan_log.sql"


class Managed(StrEnum):
    """Services that give no superuser."""

    RDS = "rds"
    AURORA = "aurora"
    CLOUDSQL = "cloudsql"
    AZURE = "azure"


_PRELOAD = {
    None: "needs shared_preload_libraries = 'pg_stat_statements' and a restart, once",
    Managed.RDS: "where it is not loaded: shared_preload_libraries in the parameter group, and a reboot",
    Managed.AURORA: "where it is not loaded: shared_preload_libraries in the cluster's parameter group, and a reboot",
    Managed.CLOUDSQL: "by a member of cloudsqlsuperuser",
    Managed.AZURE: "first add it to azure.extensions and shared_preload_libraries in the server parameters",
}


def membership(owner: str, role: str, major: int) -> str:
    """The GRANT that lets `role` become `owner`; from 16 on without having the owner's rights all the time."""
    options = " WITH INHERIT FALSE, SET TRUE" if major >= SET_OPTION_SINCE else ""
    return f"GRANT {quote_identifier(owner)} TO {quote_identifier(role)}{options};"


def script(
    *,
    level: int = 2,
    owners: Sequence[str] = (),
    schemas: Sequence[str] = (),
    managed: Managed | None = None,
    major: int = SET_OPTION_SINCE,
) -> str:
    """Everything up to an observing level, the acting role where owners are named, and the function to ask us by.

    schemas: those whose tables may be read; none is all, by pg_read_all_data where the service lets one grant it.
    """
    parts = [_template(name, managed) for name in _LEVELS[:level]]
    selects = _selects(schemas or (("public",) if managed == Managed.AZURE else ()), owners)
    text = "".join(parts).replace("{preload}", _PRELOAD[managed]).replace("{select}", selects)
    return text + _acting(owners, major) + _template("requests.sql", managed) + _binding(owners)


def _binding(owners: Sequence[str]) -> str:
    if not owners:
        return ""
    title = "-- Optional: a place for which concept each embedding is of, once you approved it (docs/concepts.md)."
    return "\n".join(["", title, *grants("ooda_act", owners), ""])


def _template(name: str, managed: Managed | None) -> str:
    if managed and name == _NEEDS_SUPERUSER:
        return f"\n-- Level 3. The plan log needs a superuser, whom {managed} does not give: it stays closed.\n"
    return (files("ooda_dagster.cli") / "templates" / name).read_text()


def _selects(schemas: Sequence[str], owners: Sequence[str]) -> str:
    if not schemas:
        return "GRANT pg_read_all_data TO ooda_observe; -- or, narrower, name schemas: --schema shop"
    lines = []
    for schema in map(quote_identifier, schemas):
        lines.append(f"GRANT USAGE ON SCHEMA {schema} TO ooda_observe;")
        lines.append(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO ooda_observe;")
        lines += [  # so that tomorrow's tables are seen too
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {quote_identifier(owner)} IN SCHEMA {schema} "
            "GRANT SELECT ON TABLES TO ooda_observe;"
            for owner in owners
        ]
    return "\n".join(lines)


def _acting(owners: Sequence[str], major: int) -> str:
    if not owners:
        return "\n-- To act (mode approve or auto), name the roles that own the tables: --owner app_owner\n"
    how = (
        "-- INHERIT FALSE: outside that statement the role has none of the owner's rights.\n"
        if major >= SET_OPTION_SINCE
        else "-- PostgreSQL 15 has no INHERIT FALSE for one membership: the role has the owner's rights all the time.\n"
    )
    grants = "".join(f"{membership(owner, 'ooda_act', major)}\n" for owner in owners)
    return _template("act.sql", None) + how + grants
