"""Do schedules and sensors run? STOPPED by default; `ooda dev` and `ooda demo` switch them on in their own instance."""

from __future__ import annotations

import os

import dagster as dg

RUNNING = "OODA_RUNNING"


def schedule_status() -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if os.environ.get(RUNNING) else dg.DefaultScheduleStatus.STOPPED


def sensor_status() -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if os.environ.get(RUNNING) else dg.DefaultSensorStatus.STOPPED
