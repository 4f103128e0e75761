"""What explains the figures of a period: void readings, replaced meters, counters' resets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import peewee
from pydantic import Field
from typing_extensions import TypedDict

from contract.times import epoch_ms, format_time, from_epoch_ms
from history.resets import resets
from history.rollups.replacements import replacements
from history.tables import Meter
from history.voids import read_voids


class Mark(TypedDict):
    """What explains figures of a period.

    `void`: a person has taken these readings out of all sums. `replaced`: a person has entered
    another meter. `reset`: the counter began again at 0 between these times; sums go on.
    """

    meter_id: str
    kind: Literal["void", "replaced", "reset"]
    since: Annotated[datetime, Field(alias="from")]
    to: datetime
    why: Annotated[str | None, Field(description="Why readings are void.")]
    before: Annotated[
        float | None, Field(description="What a counter showed in kWh before it began again.")
    ]


def marks(
    database: peewee.Database, meters: Sequence[Meter], since: datetime, until: datetime
) -> list[dict[str, Any]]:
    """Return the marks of some meters between two times, in the order of times."""
    names = {meter.name for meter in meters}
    only = meters[0].name if len(meters) == 1 else None
    found = [
        _mark(void.meter_id, "void", void.begin, void.end, why=void.why)
        for void in read_voids(database, only)
        if void.meter_id in names
        and void.undone_at is None
        and void.begin < until
        and void.end > since
    ]
    for meter in meters:
        entries = replacements(database, meter.id).values()
        for at in {from_epoch_ms(each.ts) for some in entries for each in some}:
            if since <= at < until:
                found.append(_mark(meter.name, "replaced", at, at))
    for each in resets(database, meters, epoch_ms(since), epoch_ms(until)):
        found.append(_mark(each.meter_id, "reset", each.begin, each.end, before=each.before))
    return sorted(found, key=lambda mark: (mark["from"], mark["meter_id"]))


def _mark(
    meter_id: str,
    kind: str,
    begin: datetime,
    end: datetime,
    *,
    why: str | None = None,
    before: float | None = None,
) -> dict[str, Any]:
    span = {"from": format_time(begin), "to": format_time(end)}
    return {"meter_id": meter_id, "kind": kind, **span, "why": why, "before": before}
