"""The demonstration from start to end: traffic, the loop, what it found and did, and what would have been possible."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from filelock import FileLock, Timeout

from ooda_dagster.collect import sample
from ooda_dagster.config import EMBEDDED_TARGET, Config, ConfigError, embedded_default, home_directory
from ooda_dagster.config.servers import APP_ROLE, make_roles, start_ledger, target_cluster
from ooda_dagster.core.journal import WAITING, State
from ooda_dagster.core.settings import Mode, with_profile
from ooda_dagster.defs.instance import open_instance
from ooda_dagster.defs.runner import CycleRun, Runner
from ooda_dagster.demo.load import prepare
from ooda_dagster.demo.oracle import measure_truth
from ooda_dagster.demo.planted import Plan, plan
from ooda_dagster.demo.report import Evidence, build_report
from ooda_dagster.demo.traffic import Measurement, Traffic
from ooda_dagster.loop import by_hand
from ooda_dagster.loop.context import Loop

DATABASE = "inference"
_PROFILE = "short"
_PERSON = "analyst"
_WARM_UP_S = 5.0
_BASELINE_S = 42.0  # measured before, and what every verdict compares with
_MEASURE_S = 21.0
_SETTLE_S = 4.0
_ORACLE_S = 16.0
_VERDICTS_S = 120.0  # how long a round of verdicts may take: the profile's longest deadline and a little
_POLL_S = 1.0

Say = Callable[[str], None]


def run_demo(*, seed: int, most_cycles: int, act: bool, say: Say, scale: float = 1.0) -> tuple[dict[str, Any], Config]:
    """Run it all; returns the report and the configuration that a UI can be opened with.

    Raises ConfigError where another demonstration runs in this directory. Whatever happens, the traffic is stopped; the
    servers are stopped by whoever called.
    """
    home = home_directory()
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "demo.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another demo runs in {home}; wait for it, or set OODA_HOME to another directory") from None
    with lock:
        return _run(seed, most_cycles, act, say, scale)


def _run(seed: int, most_cycles: int, act: bool, say: Say, scale: float) -> tuple[dict[str, Any], Config]:
    started = time.monotonic()
    the_plan = plan(seed)
    mode = Mode.AUTO if act else Mode.PROPOSE
    config = embedded_default(with_profile(_PROFILE, {"mode": mode}))
    say("starting two PostgreSQL servers: the target, and the ledger")
    start_ledger(config)
    cluster = target_cluster()
    cluster.start()
    make_roles(cluster)
    prepare(cluster, DATABASE, the_plan, scale=scale, say=say)

    runner = Runner(config, open_instance(config))
    runner.ooda.ledger.cycles.forget(EMBEDDED_TARGET)
    loop = runner.ooda.loop(EMBEDDED_TARGET, say)
    traffic = Traffic(cluster.dsn(DATABASE, user=APP_ROLE), seed, scale=scale)
    traffic.start()
    try:
        _warm_up(traffic)
        with _sampling(loop):
            say(f"traffic runs; measuring it for {_BASELINE_S:.0f} s before anything is done")
            before = _window(traffic, _BASELINE_S)
            if act:
                _propose_harmful(loop, the_plan, say)
            cycles = _cycles(runner, loop, the_plan, most_cycles if act else 2, act, say)
            say("measuring the traffic again")
            time.sleep(_SETTLE_S)
            after = _window(traffic, _MEASURE_S)
    finally:
        traffic.stop()
    truth = None
    if act:
        say("measuring what was possible: the truth, applied by hand on a copy")
        truth = measure_truth(cluster, the_plan, seconds=_ORACLE_S, scale=scale)
    evidence = Evidence(the_plan, act, _PROFILE, before, after, truth, cycles, loop.ledger.actions.list(loop.name))
    return build_report(evidence, seconds=time.monotonic() - started), config


@contextmanager
def _sampling(loop: Loop) -> Iterator[None]:
    """Sample every bucket, as the sensor would, until the end of the block."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(loop.settings.sampling.bucket_s):
            sample(loop.target, loop.ledger, loop.settings.sampling)

    thread = threading.Thread(target=run, name="ooda-demo-sampler", daemon=True)
    sample(loop.target, loop.ledger, loop.settings.sampling)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


def _warm_up(traffic: Traffic) -> None:
    """Wait until calls come in and caches are filled: a baseline that begins cold would make any action look good."""
    deadline = time.monotonic() + 30
    while traffic.calls < 50:
        if not traffic.alive or time.monotonic() > deadline:
            raise RuntimeError("the traffic did not begin")
        time.sleep(0.1)
    time.sleep(_WARM_UP_S)


def _window(traffic: Traffic, seconds: float) -> Measurement:
    begin = datetime.now(UTC)
    time.sleep(seconds)
    return traffic.window(begin, begin + timedelta(seconds=seconds))


def _propose_harmful(loop: Loop, the_plan: Plan, say: Say) -> None:
    say(f"a person proposes and approves an index of their own: {the_plan.harmful.ddl}")
    by_hand.propose(loop, the_plan.harmful.ddl, by=_PERSON, approve=True, why="for the weekly report")


def _cycles(runner: Runner, loop: Loop, the_plan: Plan, most: int, act: bool, say: Say) -> list[CycleRun]:
    """Cycles until nothing is left to do, each followed by the looks at what it did."""
    ran: list[CycleRun] = []
    for number in range(1, most + 1):
        say(f"cycle {number}")
        ran.append(runner.cycle(EMBEDDED_TARGET, trigger="demo"))
        _tell(ran[-1], say)
        if not act:
            time.sleep(_MEASURE_S)
            continue
        opened = loop.ledger.verifications.open(loop.name)
        if opened:
            say("waiting for verdicts")
            _verdicts(runner, loop, say)
        elif not loop.ledger.actions.list(loop.name, states=WAITING) or number > 1:
            break
    return ran


def _verdicts(runner: Runner, loop: Loop, say: Say) -> None:
    """Look when a look is due, until all verdicts are closed."""
    deadline = time.monotonic() + _VERDICTS_S
    while (opened := loop.ledger.verifications.open(loop.name)) and time.monotonic() < deadline:
        now = datetime.now(UTC)
        if any(v.next_look_at and v.next_look_at <= now for v in opened):
            looked = runner.verify(EMBEDDED_TARGET)
            for row in looked.closed if looked else ():
                effect = f"{row.effect_pct:+.0f} % work per call, " if row.effect_pct is not None else ""
                say(f"  verdict {row.outcome}: {effect}{row.state}: {row.description.split(':')[0]}")
        time.sleep(_POLL_S)


def _tell(ran: CycleRun, say: Say) -> None:
    for hypothesis in ran.hypotheses.hypotheses if ran.hypotheses else ():
        say(f"  priority {hypothesis.priority}: {hypothesis.statements[0]}")
    for result in ran.results.results if ran.results else ():
        if result.state != State.VERIFYING:
            say(f"  {result.state}: {result.description.split(':')[0]}: {result.error_message or result.note}")
