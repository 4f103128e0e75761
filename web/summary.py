"""/meters/<id>/summary: what a meter measured between two times, in one row of figures."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from contract.times import format_time
from history import energy, load_curve
from history.dialect import dialect_of
from history.tables import read_meter
from web import meters
from web.context import Parts, parts
from web.marks import Mark, marks
from web.openapi import Api
from web.parameters import A_DAY, MeterPath, Moment
from web.responses import invalid_parameter

LONGEST = timedelta(days=10 * 366)

api = Api("summary", "meters", "Meters and their charts")


class SummaryQuery(BaseModel):
    """Period to sum up."""

    since: Moment = Field(alias="from", description="Start.", examples=A_DAY["from"])
    until: Moment | None = Field(
        None, alias="to", description="End, not included (default: now).", examples=A_DAY["to"]
    )


class HighestPower(TypedDict):
    """The highest power and when it was measured."""

    power: Annotated[float, Field(description="In W.")]
    at: datetime
    exact_to: Annotated[int, Field(description="Seconds from `at` within which it was measured.")]


class Summary(TypedDict):
    """Energy in kWh, its cost, and the load in W between two times; null where unknown."""

    meter_id: str
    since: Annotated[datetime, Field(alias="from")]
    to: datetime
    currency: str | None
    imported: float | None
    exported: float | None
    cost: float | None
    uncovered: Annotated[float | None, Field(description="Energy in kWh that has no price.")]
    peak: HighestPower | None
    base_load: Annotated[
        float | None, Field(description="Power that is drawn for 95 % of the time.")
    ]
    marks: list[Mark]


@api.add(
    "GET",
    "/meters/<meter_id>/summary",
    summary="Energy, cost, peak and base load between two times",
    response=Summary | None,
)
def of_meter(path: MeterPath, query: SummaryQuery) -> Response:
    """Any two times, as a person drags them over a chart. Null while there is no history."""
    now = datetime.now(UTC)
    span = span_of(query, now)
    if isinstance(span, Response):
        return span

    shared = parts()

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        with dialect_of(database).snapshot():
            return orjson.dumps(_body(database, shared, path.meter_id, *span, now)), False

    return meters.of_meter(path.meter_id, encoded, b"null")


def span_of(query: SummaryQuery, now: datetime) -> tuple[datetime, datetime] | Response:
    """Return the two times; a response where they are invalid."""
    since, until = query.since, query.until or now
    if since >= until:
        return invalid_parameter("from", "should be before `to`")
    if until - since > LONGEST:
        years = LONGEST // timedelta(days=365)
        return invalid_parameter("from", f"should be at most {years} years before `to`")
    return since, until


def _body(
    database: peewee.Database,
    shared: Parts,
    meter_id: str,
    since: datetime,
    until: datetime,
    now: datetime,
) -> dict[str, Any]:
    zone, tariffs = shared.zone, shared.tariffs
    (counted,) = energy.between(database, meter_id, [since, until], zone, tariffs=tariffs, now=now)
    meter = read_meter(database, meter_id)
    highest = load_curve.peak(database, meter_id, "power", since, until)
    figures = {
        "imported": counted.imported,
        "exported": counted.exported,
        "cost": counted.cost,
        "uncovered": counted.bill.uncovered if counted.bill else None,
    }
    return {
        "meter_id": meter_id,
        "from": counted.start.isoformat(timespec="milliseconds"),
        "to": counted.end.isoformat(timespec="milliseconds"),
        "currency": tariffs.currency if tariffs else None,
        **{name: None if kwh is None else round(kwh, 3) for name, kwh in figures.items()},
        "peak": highest and _peak(highest),
        "base_load": load_curve.base_load(database, meter_id, since, until),
        "marks": marks(database, [meter] if meter else [], since, until),
    }


def _peak(highest: load_curve.Peak) -> dict[str, Any]:
    at, exact_to = format_time(highest.ts), highest.exact_to_s
    return {"power": highest.value, "at": at, "exact_to": exact_to}
