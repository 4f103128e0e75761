"""/meters/<id>/energy: energy and cost by hour, day, week, month or year."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, Field

from history import energy
from history.periods import Unit, start_of
from web import meters
from web.context import Parts, parts
from web.openapi import Api
from web.parameters import MeterPath, Moment
from web.responses import invalid_parameter

MOST_PERIODS = 10_000
_SPANS = {
    Unit.HOUR: timedelta(hours=23),
    Unit.DAY: timedelta(days=6),
    Unit.WEEK: timedelta(weeks=3),
    Unit.MONTH: timedelta(days=330),
    Unit.YEAR: timedelta(days=4 * 365),
}
_SHORTEST = {Unit.HOUR: 1, Unit.DAY: 23, Unit.WEEK: 167, Unit.MONTH: 671, Unit.YEAR: 8760}

api = Api("energy", "meters", "Meters and their charts")


class EnergyQuery(BaseModel):
    """Periods to return."""

    period: Unit = Field(Unit.DAY, description="hour, day, week, month or year.")
    since: Moment | None = Field(None, alias="from", description="Time within the first period.")
    until: Moment | None = Field(
        None, alias="to", description="The last period ends at this time or later (default: now)."
    )


@api.add("GET", "/meters/<meter_id>/energy", summary="Energy and cost")
def of_meter(path: MeterPath, query: EnergyQuery) -> Response:
    """Energy in kWh by periods of the site's time zone (TIMEZONE).

    `running` compares the current period with the one before. `cost` requires prices in
    TARIFFS_FILE; unknown values are null. Figures include the newest stored reading.
    """
    now = datetime.now(UTC)
    until = query.until or now
    since = query.since or start_of(query.period, until - _SPANS[query.period], parts().zone)
    if since >= until:
        return invalid_parameter("from", "should be before `to`")
    if (until - since) / timedelta(hours=_SHORTEST[query.period]) > MOST_PERIODS:
        return invalid_parameter("from", f"should be at most {MOST_PERIODS} periods before `to`")

    shared = parts()

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        span = since, until
        body = _body(database, shared, path.meter_id, query.period, span, now)
        return orjson.dumps(body), False

    return meters.of_meter(path.meter_id, encoded, b"null")


def _body(
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
        "periods": [_period(period) for period in found],
        "running": {
            "now": _period(running.now),
            "before_so_far": _period(running.before_so_far),
            "before": _period(running.before),
        },
    }


def _period(period: energy.Period) -> dict[str, Any]:
    return {
        "from": period.start.isoformat(timespec="seconds"),
        "to": period.end.isoformat(timespec="seconds"),
        "imported": _rounded(period.imported),
        "exported": _rounded(period.exported),
        "cost": _rounded(period.cost),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
