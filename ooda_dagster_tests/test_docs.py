"""Do the docs name everything, and is what they name there?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import typer.main
from pydantic import BaseModel

from ooda_dagster.cli.app import app
from ooda_dagster.core.settings import Settings

_TOP = Path(__file__).parent.parent
_DOCS = _TOP / "docs"
_PAGES = [_TOP / "README.md", *sorted(_DOCS.glob("*.md"))]


def _defaults() -> dict[str, str]:
    settings = Settings()
    groups = {name: value for name, value in settings if isinstance(value, BaseModel)}
    found = {f"{group}.{key}": value for group, values in groups.items() for key, value in values}
    return {key: _shown(value) for key, value in found.items()}


def _shown(value: object) -> str:
    """A default as the table writes it."""
    if value in ((), "", None):
        return "none"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{', '.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


def test_every_setting_is_explained_with_its_default() -> None:
    rows = re.findall(
        r"^\| `([a-z_.]+\.[a-z_]+)` \| ([^|]+) \| (.+) \|$", (_DOCS / "configuration.md").read_text(), re.M
    )
    assert {key: default for key, default, _ in rows} == _defaults()


def _commands(command: object, prefix: str = "") -> list[str]:
    children = getattr(command, "commands", None)
    if not children:
        return [prefix.strip()]
    return [name for key, child in children.items() for name in _commands(child, f"{prefix} {key}")]


def test_every_command_is_in_the_readme_or_the_changelog() -> None:
    text = "".join(p.read_text() for p in (*_PAGES, _TOP / "CHANGELOG.md"))
    missing = [c for c in _commands(typer.main.get_command(app)) if not re.search(rf"\b{c.split()[0]}\b", text)]
    assert missing == []


def test_every_command_that_the_docs_show_exists() -> None:
    known = {c.split()[0] for c in _commands(typer.main.get_command(app))}
    shown = {m for p in _PAGES for m in re.findall(r"(?:^    |`)ooda ([a-z][a-z-]+)", p.read_text(), re.M)}
    assert shown - known == set()


@pytest.mark.parametrize("page", _PAGES, ids=lambda p: p.name)
def test_every_link_inside_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_schema_of_the_demo_report_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads((_DOCS / "demo-report.schema.json").read_text()))
