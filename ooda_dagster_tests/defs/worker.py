"""A run's worker that can be killed between two phases: it says which phase it is in, and waits there.

python -m ooda_dagster_tests.defs.worker DAGSTER_HOME RUN_ID PHASE
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from ooda_dagster.core.messages import Message
from ooda_dagster.defs.io_manager import MessageIOManager
from ooda_dagster_tests.defs.ground import NAME, QUIET, cycle_job, instance_in


def main(home: str, run_id: str, phase: str) -> None:
    """Run a cycle, and hang for ever when the output of `phase` is stored."""
    store = MessageIOManager.handle_output

    def store_and_hang(self: MessageIOManager, context: dg.OutputContext, obj: Message) -> None:
        store(self, context, obj)
        if obj.phase == phase:
            print("stored", flush=True)
            time.sleep(600)

    MessageIOManager.handle_output = store_and_hang
    options: dict[str, Any] = {"run_id": run_id, "partition_key": NAME, "run_config": QUIET}
    with instance_in(Path(home)) as instance:
        cycle_job(os.environ["OODA_CONFIG"]).execute_in_process(instance=instance, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
