"""Does ooda.toml mean what it says, and is every mistake told with its line and a way out?"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from ooda_dagster.config import EMBEDDED_TARGET, Config, ConfigError, Reference, load_config, single_target
from ooda_dagster.core.settings import PROFILES, Mode, Settings

Load = Callable[[str], Config]
Refusal = Callable[[str], str]

TARGET = """
[target.shop]
observe = "env:SHOP_URL"
"""


def test_a_target_inherits_from_its_group_and_that_from_the_defaults(load: Load) -> None:
    config = load("""
        [defaults]
        mode = "observe"
        [defaults.acting]
        approve_threshold = 5
        max_actions_per_cycle = 1
        max_actions_per_day = 7

        [group.production]
        mode = "approve"
        [group.production.acting]
        approve_threshold = 4
        max_actions_per_cycle = 2

        [target.shop]
        group = "production"
        observe = "env:SHOP_URL"
        act = "env:SHOP_ACT_URL"
        [target.shop.acting]
        approve_threshold = 3

        [target.lab]
        observe = "env:LAB_URL"
    """)
    shop, lab = config.target("shop").settings, config.target("lab").settings
    assert (shop.mode, lab.mode) == (Mode.APPROVE, Mode.OBSERVE)
    acting = [
        (s.acting.approve_threshold, s.acting.max_actions_per_cycle, s.acting.max_actions_per_day) for s in (shop, lab)
    ]
    assert acting == [(3, 2, 7), (5, 1, 7)]
    assert shop.verifying == Settings().verifying


def test_a_profile_lies_beneath_everything_that_is_written(load: Load) -> None:
    config = load("""
        [defaults]
        profile = "short"
        [defaults.verifying]
        block_s = 4
        [target.shop]
        observe = "env:SHOP_URL"
    """)
    verifying = config.target("shop").settings.verifying
    assert verifying.block_s == 4
    assert verifying.deadline_s == PROFILES["short"]["verifying"]["deadline_s"]


def test_connections_and_the_ledger_are_references(load: Load) -> None:
    config = load('[ledger]\nurl = "service:ledger"\n[target.shop]\nobserve = "env:A"\nact = "file:/b"\n')
    shop = config.target("shop")
    assert (config.ledger, shop.observe, shop.act) == (
        Reference("service", "ledger"),
        Reference("env", "A"),
        Reference("file", "/b"),
    )


SECRET = "hunter2"


@pytest.mark.parametrize("key", ["observe", "act"])
@pytest.mark.parametrize(
    "value",
    [
        f"postgresql://me:{SECRET}@db/shop",
        f"postgres://me:{SECRET}@db/shop",
        f"host=db password={SECRET}",
        f"env:postgresql://me:{SECRET}@db/shop",
        f"service:shop password={SECRET}",
        f"file:postgresql://me:{SECRET}@db/shop",
        f"command:echo postgresql://me:{SECRET}@db/shop",
        f"command:env PGPASSWORD={SECRET} psql",
        SECRET,
    ],
)
def test_a_literal_password_is_refused_with_its_line_and_never_repeated(key: str, value: str, refusal: Refusal) -> None:
    other = "act" if key == "observe" else "observe"
    message = refusal(f'# {key} = a comment\n[target.shop]\n{other} = "env:X"\n{key} = "{value}"\n')
    assert message.startswith(f"ooda.toml:4: target.shop.{key}: a connection is given by reference only")
    assert SECRET not in message


def test_a_literal_password_of_the_ledger_or_of_the_defaults_is_refused_there(refusal: Refusal) -> None:
    url = f"postgresql://me:{SECRET}@db/x"
    messages = (
        refusal(f'[ledger]\n\nurl = "{url}"\n{TARGET}'),
        refusal(f'[defaults]\n\nact = "{url}"\n{TARGET}'),
        refusal(f'[target.shop]\nobserve = "env:X"\nurl = "{url}"\n'),
        refusal(f'[target.shop]\nobserve = "env:X"\nkind = "{url}"\n'),
        refusal(f'[target.shop]\nobserve = "env:X"\nmode = "{url}"\n'),
        refusal(f'[target.shop]\nobserve = "env:X"\nprofile = "{url}"\n'),
        refusal(f'[target.shop]\nobserve = "{url}\n'),
    )
    assert all("ooda.toml:3:" in message for message in messages[:-1])
    assert "line 2" in messages[-1]
    assert not [m for m in messages if SECRET in m]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TARGET + 'mdoe = "auto"\n', "ooda.toml:3: unknown key 'mdoe'; did you mean 'mode'?"),
        (TARGET + 'observ = "env:X"\n', "ooda.toml:3: unknown key 'observ'; did you mean 'observe'?"),
        (
            TARGET + "acting.aprove_threshold = 3\n",
            "ooda.toml:3: unknown key 'acting.aprove_threshold'; did you mean 'approve_threshold'?",
        ),
        (TARGET + "[target.shop.actin]\nx = 1\n", "ooda.toml:3: unknown key 'actin'; did you mean 'acting'?"),
        (
            TARGET + "[target.shop.verifying]\ndecide = 3\n",
            "ooda.toml:4: unknown key 'verifying.decide'; did you mean 'decide_e'?",
        ),
        ("[defaults]\nzzz = 1\n" + TARGET, "ooda.toml:2: unknown key 'zzz'"),
        ("[targets.shop]\n", "ooda.toml:1: unknown key 'targets'; did you mean 'target'?"),
        ("[ledger]\nurll = 'env:X'\n" + TARGET, "ooda.toml:2: unknown key 'ledger.urll'; did you mean 'url'?"),
        ("[group.unused]\nmdoe = 'auto'\n" + TARGET, "ooda.toml:2: unknown key 'mdoe'; did you mean 'mode'?"),
    ],
)
def test_an_unknown_key_is_told_with_its_line_and_the_nearest_name(text: str, message: str, refusal: Refusal) -> None:
    assert refusal(text.lstrip("\n")) == message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (TARGET + 'mode = "atuo"\n', 3, "mode must be one of observe, propose, approve, auto"),
        (TARGET + 'profile = "fast"\n', 3, "profile must be one of production, short"),
        (TARGET + "profile = ['short']\n", 3, "profile must be one of"),
        (TARGET + 'advice.index_budget = "lots"\n', 3, "advice.index_budget: Value error, budget 'lots' is neither"),
        (TARGET + 'advice.index_budget = "infMB"\n', 3, "is neither a share"),
        (TARGET + "acting.approve_threshold = 9\n", 3, "less than or equal to 5"),
        (TARGET + "acting = 9\n", 3, "acting: "),
        (TARGET + 'kind = "oracle"\n', 3, "not supported; use 'postgres'"),
        (TARGET + 'group = "prod"\n', 3, "no [group.prod]; known: none"),
        (TARGET + 'group = "produktion"\n[group.production]\n', 3, "did you mean 'production'?"),
        (TARGET + "group = ['a']\n", 3, "no [group."),
        ("[defaults]\ngroup = 'a'\n" + TARGET, 2, "only a target can name its group"),
        ("defaults = 1\n" + TARGET, 1, "defaults must be a table, [defaults]"),
        ("target = 1\n", 1, "target must be a table"),
        ("group = []\n" + TARGET, 1, "group must be a table"),
        ('ledger = "env:X"\n' + TARGET, 1, "ledger must be a table, [ledger]"),
        ("[target]\nshop = 1\n", 2, "target.shop must be a table, [target.shop]"),
        ('[target."two words"]\nobserve = "env:X"\n', 1, "letters, digits"),
        ("[target.shop]\nmode = 'propose'\n", 1, 'no `observe` connection, such as observe = "env:'),
        (TARGET + "observe = 5\n", 0, "Cannot overwrite a value"),
    ],
)
def test_a_value_that_cannot_be_meant_is_told_with_its_line(text: str, line: int, words: str, refusal: Refusal) -> None:
    message = refusal(text.lstrip("\n"))
    assert words in message
    assert message.startswith(f"ooda.toml:{line}:" if line else "ooda.toml: ")


def test_the_line_is_that_of_the_value_that_counts_and_not_of_an_equal_word(refusal: Refusal) -> None:
    message = refusal("""
        # approve_threshold = 9 would be an error
        [defaults.acting]
        approve_threshold = 2
        [group.production.acting]
        approve_threshold = 9
        [target.lab]
        observe = "env:LAB_URL"
        acting.approve_threshold = 4
        [target.shop]
        group = "production"
        observe = "env:SHOP_URL"
    """)
    assert message.startswith("ooda.toml:5: acting.approve_threshold")


def test_every_mistake_of_a_target_is_told_at_once(refusal: Refusal) -> None:
    lines = refusal(
        TARGET.lstrip() + "acting.approve_threshold = 9\nadvice.max_width = 0\nverifying.decide = 3\n"
    ).split("\n")
    assert [line.split(":")[1] for line in lines] == ["4", "3", "5"]


@pytest.mark.parametrize("mode", ["approve", "auto"])
def test_a_mode_that_acts_is_refused_without_a_connection_to_act(mode: str, refusal: Refusal) -> None:
    message = refusal(f'[defaults]\nmode = "{mode}"\n{TARGET}')
    assert message.startswith(f"ooda.toml:2: target 'shop' is in mode {mode} but has no `act` connection")
    with pytest.raises(ConfigError, match=r"command line.* no `act`"):
        single_target("shop", "postgresql://db", None, overrides={"mode": mode})


def test_a_group_may_be_in_a_mode_that_acts_where_its_targets_name_the_connection(load: Load) -> None:
    config = load(f'[group.a]\nmode = "auto"\n{TARGET}group = "a"\nact = "env:ACT"\n')
    assert config.target("shop").settings.mode == Mode.AUTO


@pytest.mark.parametrize(
    "text", ["[target.shop", "x = ", "\x00", "[a]\n[a]\n", 'a = "\\q"', "é" * 3 + " = 1"], ids=range(6)
)
def test_a_file_that_is_no_toml_is_told_with_its_place(text: str, refusal: Refusal) -> None:
    message = refusal(text)
    assert message.startswith("ooda.toml: ")
    assert any(place in message for place in ("line 1", "line 2", "end of document"))


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ooda.toml"
    path.write_bytes('# Größe\n[target.shop]\nobserve = "env:X"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"ooda\.toml: .*utf-8"):
        load_config(path)


@pytest.mark.parametrize("text", ["", "[defaults]\nmode = 'observe'\n", "[target]\n"])
def test_a_file_without_a_target_is_refused(text: str, refusal: Refusal) -> None:
    assert refusal(text) == "ooda.toml: no [target.NAME] table; `ooda init` writes an example"


def test_a_target_that_is_not_there_is_told_with_the_nearest_name(load: Load) -> None:
    config = load(TARGET)
    with pytest.raises(ConfigError, match="no target 'shopp'; did you mean 'shop'"):
        config.target("shopp")
    with pytest.raises(ConfigError, match="no target 'xyz'; known: shop"):
        config.target("xyz")


def test_the_file_is_looked_for_where_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(load_config().targets) == [EMBEDDED_TARGET]
    (tmp_path / "ooda.toml").write_text(TARGET)
    assert list(load_config().targets) == ["shop"]
    (tmp_path / "other.toml").write_text(TARGET.replace("shop", "lab"))
    monkeypatch.setenv("OODA_CONFIG", str(tmp_path / "other.toml"))
    assert list(load_config().targets) == ["lab"]
    assert list(load_config(tmp_path / "ooda.toml").targets) == ["shop"]
    monkeypatch.setenv("OODA_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigError, match=r"gone\.toml does not exist; `ooda init` writes one"):
        load_config()


def test_the_file_that_init_writes_is_valid_and_acts_on_nothing(load: Load) -> None:
    config = load((files("ooda_dagster.cli") / "templates" / "ooda.toml").read_text())
    assert [(t.settings.mode, t.act) for t in config.targets.values()] == [(Mode.PROPOSE, None)]
    assert config.ledger.kind == "embedded"


def test_the_file_that_init_writes_is_valid_with_every_comment_taken_away(load: Load) -> None:
    text = (files("ooda_dagster.cli") / "templates" / "ooda.toml").read_text()
    head, body = text.split("[defaults]")
    config = load("[defaults]" + body.replace("\n# ", "\n"))
    shop = config.target("shop")
    assert shop.act == Reference("env", "SHOP_ACT_URL")
    assert shop.settings.acting.protected == ("billing.*",)
    assert config.ledger == Reference("env", "OODA_LEDGER_URL")
    assert "env:NAME" in head


def test_mistakes_on_the_command_line_are_told_without_a_file() -> None:
    with pytest.raises(ConfigError, match=r"^target shop: mode must be one of observe"):
        single_target("shop", "postgresql://db", None, overrides={"mode": "atuo"})
