"""Are alerts and owners read as they are meant, and are mistakes told with their line and never with a secret?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ooda_dagster.config import Alerts, Config, Reference

TARGET = '[target.shop]\nobserve = "env:SHOP_URL"\n'


def test_without_them_nobody_is_told_and_nobody_owns(load: Callable[[str], Config]) -> None:
    config = load(TARGET)
    assert (config.alerts, config.deployment.owners) == (Alerts(), ())


def test_channels_and_owners_are_read(load: Callable[[str], Config]) -> None:
    config = load(
        TARGET + '[alerts]\nwebhook = "env:OODA_ALERT_WEBHOOK"\ncommand = "notify --team \'data base\'"\n'
        '[dagster]\nowners = ["team:data", "ann@example.org"]\n'
    )
    assert config.alerts == Alerts(Reference("env", "OODA_ALERT_WEBHOOK"), "notify --team 'data base'")
    assert config.deployment.owners == ("team:data", "ann@example.org")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[alerts]\nwebhok = "env:X"', "ooda.toml:4: unknown key 'alerts.webhok'; did you mean 'webhook'?"),
        ('[alert]\nwebhook = "env:X"', "ooda.toml:3: unknown key 'alert'; did you mean 'alerts'?"),
        (
            '[alerts]\nwebhook = "https://hooks.example.org/s3cret"',
            "ooda.toml:4: alerts.webhook: a connection is given",
        ),
        ('[alerts]\nwebhook = "embedded:x"', "ooda.toml:4: alerts.webhook is given as env:..., file:..., command:..."),
        ('[alerts]\ncommand = ""', "ooda.toml:4: alerts.command is a program with its arguments"),
        ('[alerts]\ncommand = ["notify"]', "ooda.toml:4: alerts.command is a program with its arguments"),
        ('[alerts]\ncommand = "notify \'x"', "ooda.toml:4: alerts.command is a program with its arguments"),
        ('[dagster]\nowners = "team:data"', "ooda.toml:4: dagster.owners is a list of email addresses and teams"),
        ('[dagster]\nowners = ["data"]', "ooda.toml:4: dagster.owners is a list of email addresses and teams"),
        ('[dagster]\nowner = ["team:data"]', "ooda.toml:4: unknown key 'dagster.owner'; did you mean 'owners'?"),
    ],
)
def test_a_mistake_is_told_with_its_line(refusal: Callable[[str], str], text: str, message: str) -> None:
    told = refusal(TARGET + text + "\n")
    assert told.startswith(message)
    assert "s3cret" not in told
