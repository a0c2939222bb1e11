"""Writes an ooda.toml and reads it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ooda_dagster.config import Config, ConfigError, load_config


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Config]:
    """Reads a configuration of this text."""

    def read(text: str) -> Config:
        path = tmp_path / "ooda.toml"
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return load_config(path)

    return read


@pytest.fixture
def refusal(load: Callable[[str], Config], tmp_path: Path) -> Callable[[str], str]:
    """The message with which a text is refused, without the directory."""

    def read(text: str) -> str:
        with pytest.raises(ConfigError) as refused:
            load(text)
        assert refused.value.__cause__ is None or "tomllib" in type(refused.value.__cause__).__module__
        return str(refused.value).replace(f"{tmp_path}/", "")

    return read
