"""`ooda learning`: predicted against realised gain, by type and rung of evidence, and what the failure memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ooda_dagster.cli.actions import span
from ooda_dagster.cli.output import emit, errors, out, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.learned import Learned, PredictionPoint
from ooda_dagster.core.learning_report import ROLLING, curve
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.text import cut
from ooda_dagster.core.wire import iso
from ooda_dagster.loop.learned import lessons
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.loop.remembered import Remembered, remembered


def learning(
    config: ConfigOption = None,
    target: TargetOption = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="All verdicts that are younger: 12h, 30d (default: what learning remembers)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predicted against realised gain, by type and rung of evidence, and what the failure memory holds."""
    now = datetime.now(UTC)
    with errors():
        after = now - span(since) if since else None
        ooda = Ooda(with_ledger(load_config(config)))
        known = [r["name"] for r in ooda.ledger.cycles.targets()]
        if target and target not in known:
            ooda.config.target(target)  # says which name is near
        rows: list[Learned] = []
        points: list[PredictionPoint] = []
        memory: list[Remembered] = []
        for name in [target] if target else sorted({*ooda.config.targets, *known}):
            configured = ooda.config.targets.get(name)
            settings = configured.settings if configured else Settings()
            found = lessons(ooda.ledger, settings, now, name, since=after)
            rows += found.rows
            points += found.points
            memory += remembered(ooda.ledger, name, settings.acting, now)
    points.sort(key=lambda p: p.at)
    if as_json:
        emit(
            {
                "learned": [r.model_dump() for r in rows],
                "predictions": [p.model_dump() for p in points],
                "curve": [
                    {"at": at, "off_pct": priced, "off_corrected_pct": corrected}
                    for at, priced, corrected in curve(points)
                ],
                "remembered": [asdict(m) for m in memory],
            }
        )
        return
    _print(rows, points, memory)


def _print(rows: Sequence[Learned], points: Sequence[PredictionPoint], memory: Sequence[Remembered]) -> None:
    if not rows:
        out.print("No verdict of an action of ours closed yet: there is nothing to compare predictions with.")
    else:
        table("Less work of what an action touches, in per cent", _COLUMNS, [_row(r) for r in rows])
        out.print("realised x: realised by predicted, with 95 %. next x: what the next prediction is multiplied with.")
        out.print(
            "held: verdicts whose interval holds the prediction. off: mean distance of predictions, as priced and as "
            "corrected when they were made."
        )
    if len(points) > 1:
        learned = curve(points)
        first, last = learned[min(ROLLING, len(points)) - 1], learned[-1]
        many = min(ROLLING, len(points))
        out.print(
            f"Off by {first[1]:.0f} (corrected {first[2]:.0f}) in the first {many} verdicts, by {last[1]:.0f} "
            f"(corrected {last[2]:.0f}) in the last {many}."
        )
    if rows:
        out.print()
    if memory:
        table(
            "Failure memory",
            ["target", "what", "at", "until", "policy", "why"],
            [
                (
                    m.target,
                    m.what,
                    iso(m.at)[:16],
                    iso(m.until)[:16],
                    "approves none" if m.shut else "approves",
                    cut(m.why, 200),
                )
                for m in memory
            ],
        )


_COLUMNS = [
    "target",
    "type",
    "rung",
    "n",
    "predicted",
    "realised",
    "95 %",
    "realised x",
    "next x",
    "better",
    "worse",
    "no diff.",
    "failed",
    "held",
    "off",
    "corrected",
]


def _row(row: Learned) -> tuple[Any, ...]:
    def whole(value: float | None) -> int | None:
        return None if value is None else round(value)

    def of_all(count: int) -> str:
        return f"{count / row.verdicts:.0%}" if row.verdicts else ""

    interval = ""
    if row.realised_low_pct is not None and row.realised_high_pct is not None:
        interval = f"{row.realised_low_pct:.0f} to {row.realised_high_pct:.0f}"
    ratio = ""
    if row.ratio is not None and row.ratio_low is not None and row.ratio_high is not None:
        ratio = f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
    return (
        row.target,
        row.hypothesis_type,
        row.rung,
        row.verdicts,
        whole(row.predicted_pct),
        whole(row.realised_pct),
        interval,
        ratio,
        f"{row.factor:.2f}",
        of_all(row.better),
        of_all(row.worse),
        of_all(row.inconclusive),
        row.failed,
        "" if row.held is None else f"{row.held:.0%}",
        whole(row.off_pct),
        whole(row.off_corrected_pct),
    )
