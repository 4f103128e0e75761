"""/meters/<id>/energy: energy and cost by quarter-hour, hour, day, week, month or year."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import getitem
from typing import Annotated, Any, NotRequired
from zoneinfo import ZoneInfo

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from contract.meter_settings import Billing
from contract.times import format_time
from history import energy, peaks
from history.costs import Line
from history.dialect import dialect_of
from history.periods import Unit, start_of
from history.tables import read_meter
from history.tariffs import Tariffs
from web import meters
from web.context import parts
from web.openapi import Api
from web.parameters import MeterPath, Moment
from web.representations import Form, FormQuery, csv_text
from web.responses import invalid_parameter

MOST_PERIODS = 10_000
COLUMNS = ("from", "to", "imported", "exported", "cost", "uncovered")
LONGEST_OF_PEAKS = timedelta(days=10 * 366)
_SPANS = {
    Unit.QUARTER_HOUR: timedelta(hours=23.75),
    Unit.HOUR: timedelta(hours=23),
    Unit.DAY: timedelta(days=6),
    Unit.WEEK: timedelta(weeks=3),
    Unit.MONTH: timedelta(days=330),
    Unit.YEAR: timedelta(days=4 * 365),
}
_SHORTEST = {
    Unit.QUARTER_HOUR: 0.25,
    Unit.HOUR: 1,
    Unit.DAY: 23,
    Unit.WEEK: 167,
    Unit.MONTH: 671,
    Unit.YEAR: 8760,
}

api = Api("energy", "meters", "Meters and their charts")


class EnergyQuery(BaseModel):
    """Periods to return."""

    period: Unit = Field(Unit.DAY, description="quarter_hour, hour, day, week, month or year.")
    since: Moment | None = Field(None, alias="from", description="Time within the first period.")
    until: Moment | None = Field(
        None, alias="to", description="The last period ends at this time or later (default: now)."
    )
    costs: bool = Field(True, description="Also compute costs, which takes longer.")


class MeterEnergyQuery(EnergyQuery, FormQuery):
    """Periods to return, and how to compute their costs."""

    tariff: str | None = Field(
        None, description="Tariff to compute costs by (default: that of the meter)."
    )
    lines: bool = Field(False, description="Also return the lines that each cost consists of.")
    counters: bool = Field(
        False, description="Also return what each way of billing counts: per_phase and netted."
    )


class BillLine(TypedDict):
    """A line of a cost."""

    kind: str
    name: str
    unit: str
    price: float | None
    quantity: float | None
    amount: float | None


class Counted(TypedDict):
    """What one way of billing counts, in kWh."""

    imported: float | None
    exported: float | None


class EnergyPeriod(TypedDict):
    """Energy of a period in kWh, and its cost; null where unknown."""

    since: Annotated[datetime, Field(alias="from")]
    to: datetime
    imported: float | None
    exported: float | None
    cost: float | None
    uncovered: Annotated[float | None, Field(description="Energy in kWh that has no price.")]
    lines: NotRequired[list[BillLine]]
    per_phase: NotRequired[Counted]
    netted: NotRequired[Counted]


class RunningEnergy(TypedDict):
    """The running period, the one before up to the same point, and the whole of it."""

    now: EnergyPeriod
    before_so_far: EnergyPeriod
    before: EnergyPeriod


class EnergyOfMeter(TypedDict):
    """Energy and cost of a meter by periods."""

    meter_id: str
    period: Unit
    timezone: str
    currency: str | None
    tariff: str | None
    billing: Billing
    periods: list[EnergyPeriod]
    running: RunningEnergy


@api.add(
    "GET",
    "/meters/<meter_id>/energy",
    summary="Energy and cost",
    response=EnergyOfMeter | None,
    csv=True,
    versioned=True,
)
def of_meter(path: MeterPath, query: MeterEnergyQuery) -> Response:
    """Energy in kWh by periods of the site's time zone (TIMEZONE).

    `running` compares the current period with the one before. `cost` requires prices in
    TARIFFS_FILE; unknown values are null. It is also null where some energy has no price:
    `uncovered` is how much. Figures include the newest stored reading. Null while there is no
    history. CSV has the periods alone.
    """
    now, form = datetime.now(UTC), query.form
    span = span_of(query, now)
    if isinstance(span, Response):
        return span

    shared = parts()
    tariffs = shared.tariffs
    known = tariffs.named if tariffs else {}
    if query.tariff and query.tariff not in known:
        return invalid_parameter("tariff", f"should be one of {', '.join(known) or 'none'}")

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        body = _body(database, shared.zone, tariffs, path.meter_id, query, span, now)
        return _csv(body["periods"], columns) if form is Form.CSV else orjson.dumps(body), False

    columns = _columns(query)
    empty = _csv([], columns) if form is Form.CSV else b"null"
    return meters.of_meter(path.meter_id, encoded, empty, form=form, until=query.until)


class PeaksQuery(BaseModel):
    """Months to return."""

    since: Moment | None = Field(
        None, alias="from", description="Time within the first month (default: 11 months ago)."
    )
    until: Moment | None = Field(
        None, alias="to", description="Time within the last month, not included (default: now)."
    )


class Peak(TypedDict):
    """A month, and the quarter-hour of its highest demand (null: none is known)."""

    since: Annotated[datetime, Field(alias="from")]
    to: datetime
    power: Annotated[float | None, Field(description="Mean power of the quarter-hour in W.")]
    at: Annotated[datetime | None, Field(description="Start of the quarter-hour.")]


class RunningQuarter(TypedDict):
    """The running quarter-hour."""

    since: Annotated[datetime, Field(alias="from")]
    measured_until: datetime
    so_far: Annotated[float, Field(description="Mean power until then in W.")]
    projected: Annotated[
        float, Field(description="Mean power in W at its end if the power stays as it is.")
    ]


class Peaks(TypedDict):
    """Demand of a meter: the highest of each month, and the running quarter-hour."""

    meter_id: str
    timezone: str
    months: list[Peak]
    running: RunningQuarter | None


@api.add("GET", "/meters/<meter_id>/peaks", summary="Highest demand of each month", response=Peaks)
def peaks_of_meter(path: MeterPath, query: PeaksQuery) -> Response:
    """Demand is the mean power that is drawn in a quarter-hour, in W.

    `running` is null before the first reading of the running quarter-hour.
    """
    now, zone = datetime.now(UTC), parts().zone
    until = query.until or now
    since = query.since or until - timedelta(days=335)
    if since >= until:
        return invalid_parameter("from", "should be before `to`")
    if until - since > LONGEST_OF_PEAKS:
        years = LONGEST_OF_PEAKS // timedelta(days=365)
        return invalid_parameter("from", f"should be at most {years} years before `to`")

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        with dialect_of(database).snapshot():
            months = peaks.months(database, path.meter_id, since, until, zone, now=now)
            running = peaks.running(database, path.meter_id, now)
        body = {
            "meter_id": path.meter_id,
            "timezone": zone.key,
            "months": [_peak(month) for month in months],
            "running": _running(running) if running else None,
        }
        return orjson.dumps(body), False

    return meters.of_meter(path.meter_id, encoded, b"null")


def span_of(query: EnergyQuery, now: datetime) -> tuple[datetime, datetime] | Response:
    """Return the beginning and end of the periods; a response where they are invalid."""
    until = query.until or now
    since = query.since or start_of(query.period, until - _SPANS[query.period], parts().zone)
    if since >= until:
        return invalid_parameter("from", "should be before `to`")
    if (until - since) / timedelta(hours=_SHORTEST[query.period]) > MOST_PERIODS:
        return invalid_parameter("from", f"should be at most {MOST_PERIODS} periods before `to`")
    return since, until


def _body(
    database: peewee.Database,
    zone: ZoneInfo,
    tariffs: Tariffs | None,
    meter_id: str,
    query: MeterEnergyQuery,
    span: tuple[datetime, datetime],
    now: datetime,
) -> dict[str, Any]:
    unit, tariff = query.period, query.tariff
    used = tariffs if query.costs else None
    with dialect_of(database).snapshot():
        found = energy.periods(
            database, meter_id, unit, *span, zone, tariffs=used, tariff=tariff, now=now
        )
        running = energy.compare(database, meter_id, unit, now, zone, tariffs=used, tariff=tariff)
        more = _counters(database, meter_id, found) if query.counters else [{}] * len(found)
        meter = read_meter(database, meter_id)
    compared = {
        "now": running.now,
        "before_so_far": running.before_so_far,
        "before": running.before,
    }
    return {
        "meter_id": meter_id,
        "period": unit,
        "timezone": zone.key,
        "currency": tariffs.currency if tariffs else None,
        "tariff": (tariff or tariffs.of(meter_id).name) if tariffs else None,
        "billing": (meter and meter.billing) or Billing.PER_PHASE,
        "periods": [
            _period(period, lines=query.lines) | each
            for period, each in zip(found, more, strict=True)
        ],
        "running": {name: _period(each, lines=query.lines) for name, each in compared.items()},
    }


def _columns(query: MeterEnergyQuery) -> list[tuple[str, ...]]:
    """Return the columns of CSV, each by the names that lead to its values."""
    counted = [(billing, name) for billing in Billing for name in Counted.__annotations__]
    return [*((name,) for name in COLUMNS), *(counted if query.counters else [])]


def _csv(periods: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, ...]]) -> bytes:
    rows = ([reduce(getitem, column, period) for column in columns] for period in periods)
    return csv_text([["_".join(column) for column in columns], *rows])


def _counters(
    database: peewee.Database, meter_id: str, found: Sequence[energy.Period]
) -> list[dict[str, Any]]:
    """Return what each way of billing counted in consecutive periods."""
    moments = [*(period.start for period in found), found[-1].end]
    each = (
        [
            {"imported": _rounded(imported), "exported": _rounded(exported)}
            for imported, exported in energy.counted(database, meter_id, moments, billing)
        ]
        for billing in Billing
    )
    names = [billing.value for billing in Billing]
    return [dict(zip(names, both, strict=True)) for both in zip(*each, strict=True)]


def _period(period: energy.Period, *, lines: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "from": period.start.isoformat(timespec="seconds"),
        "to": period.end.isoformat(timespec="seconds"),
        "imported": _rounded(period.imported),
        "exported": _rounded(period.exported),
        "cost": _rounded(period.cost),
        "uncovered": _rounded(period.bill.uncovered if period.bill else None),
    }
    if lines:
        fields["lines"] = [_line(line) for line in (period.bill.lines if period.bill else ())]
    return fields


def _line(line: Line) -> dict[str, Any]:
    return {
        "kind": line.kind,
        "name": line.name,
        "unit": line.unit,
        "price": _rounded(line.price, 6),
        "quantity": _rounded(line.quantity),
        "amount": _rounded(line.amount, 4),
    }


def _rounded(value: float | None, decimals: int = 3) -> float | None:
    return None if value is None else round(value, decimals)


def _peak(month: peaks.Month) -> dict[str, Any]:
    highest = month.highest
    return {
        "from": month.start.isoformat(timespec="seconds"),
        "to": month.end.isoformat(timespec="seconds"),
        "power": _rounded(highest.power) if highest else None,
        "at": format_time(highest.start) if highest else None,
    }


def _running(running: peaks.Running) -> dict[str, Any]:
    return {
        "from": format_time(running.start),
        "measured_until": format_time(running.measured_until),
        "so_far": _rounded(running.so_far, 1),
        "projected": _rounded(running.projected, 1),
    }
