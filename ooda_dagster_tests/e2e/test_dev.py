"""Does `ooda dev` run the loop by itself, once per due time, show it in a browser, and leave nothing behind?"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ooda_dagster.config.file import EMBEDDED_TARGET
from ooda_dagster.ledger import Cycle
from ooda_dagster_tests.e2e.dev import Dev, ledger_of, start, started
from ooda_dagster_tests.support import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ASSETS = (
    "observations",
    "hypotheses",
    "decisions",
    "action_results",
    "learning_deltas",
    "verdicts",
    "workload_days",
)
GROUPS = ("ooda_target", "ooda_observe", "ooda_decide", "ooda_act", "ooda_learn", "ooda_history")
LINEAGE = "/asset-groups?expanded=" + ",".join(f"global@global:{group}" for group in GROUPS)
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    """One start for all tests here; the last of them ends it."""
    with started() as made:
        yield made


def picture_of_lineage(url: str, path: Path) -> str:
    """Open the lineage page, wait for every asset, take a picture; the text of the page."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS.split())
        page = browser.new_page(viewport={"width": 1500, "height": 620})
        page.goto(url + LINEAGE)
        for name in ASSETS:
            page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(2000)  # the nodes fade in
        page.screenshot(path=path)
        text = page.inner_text("body")
        browser.close()
    return text


def test_the_lineage_page_shows_the_loop(dev: Dev, tmp_path: Path) -> None:
    picture = tmp_path / "lineage.png"
    text = picture_of_lineage(dev.url, picture)
    assert set(ASSETS) | set(GROUPS) <= set(text.split())
    for error in ("Error", "failed to load", "Unexpected", "not found"):
        assert error not in text
    assert 10_000 < picture.stat().st_size < 300_000


def test_a_due_cycle_starts_by_itself_and_moves_its_due_time(dev: Dev) -> None:
    def ended() -> bool:
        return any(run["status"] in ("SUCCESS", "FAILURE") for run in dev.runs(ooda__kind="cycle"))

    wait_until(ended, timeout_s=150, what="the first cycle")
    (run,) = dev.runs(ooda__kind="cycle")
    assert run["status"] == "SUCCESS"
    assert run["tags"]["ooda/target"] == EMBEDDED_TARGET
    assert run["tags"]["ooda/trigger"] == "schedule"
    (due,) = ledger_of(dev.home).cycles.queue()
    assert due.deliver_at > datetime.now(UTC)


def test_no_password_is_on_a_command_line_or_in_the_ui(dev: Dev) -> None:
    (password,) = {(p.parent / "password").read_text().strip() for p in dev.home.glob("ooda/clusters/ledger/password")}
    assert not [p for p in dev.family() if password in " ".join(p.cmdline())]
    assert password not in str(dev.ask("{ instance { info } }"))
    assert password not in dev.log


def test_ctrl_c_leaves_nothing_running(dev: Dev) -> None:
    """The last test that uses the shared start."""
    assert len(dev.family()) > 5
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(60) == 130
    assert dev.family() == []
    # Of what Dagster had just begun Python tells where it was; what we began ends without a word.
    traces = dev.log.split("Traceback (most recent call last):")[1:]
    assert [trace for trace in traces if "ooda_dagster/cli" in trace.replace("ooda_dagster_tests", "")] == []


@pytest.mark.slow
def test_a_due_time_gets_one_run_across_a_crash_of_the_daemon() -> None:
    with started() as dev:
        families, cycles = crash_and_start_again(dev)
    assert len(families) == 1
    assert len(cycles) <= 1  # none, where the crash came before the run began one


def crash_and_start_again(dev: Dev) -> tuple[set[str], list[Cycle]]:
    """Kill the daemon as soon as the first due time has its run, and start anew.

    What that due time has got when the next one is known: families of runs, and cycles.
    """
    wait_until(lambda: dev.runs(ooda__kind="cycle"), timeout_s=150, what="a run of the first due time")
    tags = dev.runs(ooda__kind="cycle")[0]["tags"]
    key, due = tags["ooda/due_key"], datetime.fromisoformat(tags["ooda/due_at"])
    dev.program("dagster._daemon").kill()
    assert dev.process.wait(60) == 1
    assert "dagster._daemon ended with status -9" in dev.log
    wait_until(lambda: not dev.family(), timeout_s=30, what="the end of all its processes")

    again = start(dev.home)
    cycles = ledger_of(dev.home).cycles
    # Moved by learning, or re-armed where the crash took the run with it: by then the schedule has ticked again.
    wait_until(lambda: cycles.queue()[0].deliver_at > datetime.now(UTC), timeout_s=300, what="the next due time")
    families = again.families(key)
    found = [c for c in cycles.latest(EMBEDDED_TARGET) if c.due_at == due]
    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(60) == 130
    return families, found
