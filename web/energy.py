"""/meters/<id>/energy: what was counted by the hour, day, week, month or year, and its cost."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from history import energy
from history.periods import Unit, start_of
from web.answers import json_answer, refusal
from web.context import Parts, parts
from web.meters import MeterPath, is_known, unknown_meter
from web.times import Moment

MOST_PERIODS = 10_000
_SPANS = {
    Unit.HOUR: timedelta(hours=23),
    Unit.DAY: timedelta(days=6),
    Unit.WEEK: timedelta(weeks=3),
    Unit.MONTH: timedelta(days=330),
    Unit.YEAR: timedelta(days=4 * 365),
}
_SHORTEST = {Unit.HOUR: 1, Unit.DAY: 23, Unit.WEEK: 167, Unit.MONTH: 671, Unit.YEAR: 8760}

blueprint = APIBlueprint(
    "energy", __name__, abp_tags=[Tag(name="meters", description="Meters and their charts")]
)


class EnergyQuery(BaseModel):
    """Which periods are wanted."""

    period: Unit = Field(Unit.DAY, description="hour, day, week, month or year.")
    since: Moment | None = Field(None, alias="from", description="The first period holds it.")
    until: Moment | None = Field(
        None, alias="to", description="The last period ends with it or later; default: now."
    )


@blueprint.get("/meters/<meter_id>/energy", summary="Energy and cost", strict_slashes=False)
def of_meter(path: MeterPath, query: EnergyQuery) -> Response:
    """Periods by the site's clock (TIMEZONE) in kWh, and the running one beside the one before.

    `cost` is there where TARIFFS_FILE has prices; null where nothing is known. Roll-ups lag up to
    five minutes behind.
    """
    now = datetime.now(UTC)
    until = query.until or now
    since = query.since or start_of(query.period, until - _SPANS[query.period], parts().zone)
    if since >= until:
        return _refused("from", "should be before `to`")
    if (until - since) / timedelta(hours=_SHORTEST[query.period]) > MOST_PERIODS:
        return _refused("from", f"more than {MOST_PERIODS} periods are too many at once")
    if not is_known(path.meter_id):
        return unknown_meter(path.meter_id)

    shared = parts()

    def encoded(database: peewee.Database) -> str:
        return json.dumps(
            _answer(database, shared, path.meter_id, query.period, (since, until), now)
        )

    return json_answer(shared.stored.ask(encoded, empty="null"))


def _answer(
    database: peewee.Database,
    shared: Parts,
    meter_id: str,
    unit: Unit,
    span: tuple[datetime, datetime],
    now: datetime,
) -> dict[str, Any]:
    zone, tariffs = shared.zone, shared.tariffs
    found = energy.periods(database, meter_id, unit, *span, zone, tariffs=tariffs)
    running = energy.compare(database, meter_id, unit, now, zone, tariffs=tariffs)
    return {
        "meter_id": meter_id,
        "period": unit,
        "timezone": zone.key,
        "currency": tariffs.currency if tariffs else None,
        "periods": [_told(period) for period in found],
        "running": {
            "now": _told(running.now),
            "before_so_far": _told(running.before_so_far),
            "before": _told(running.before),
        },
    }


def _told(period: energy.Period) -> dict[str, Any]:
    return {
        "from": period.start.isoformat(timespec="seconds"),
        "to": period.end.isoformat(timespec="seconds"),
        "imported": _rounded(period.imported),
        "exported": _rounded(period.exported),
        "cost": _rounded(period.cost),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _refused(field: str, text: str) -> Response:
    return refusal(422, [{"loc": ["query", field], "msg": text, "type": "value_error"}])
