"""/site/: the house now and in the past, from the roles and parents of its meters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NotRequired

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from contract.errors import PayloadError
from contract.meter_settings import Billing, MeterSettings, Role, decode_settings
from contract.times import epoch_ms, format_time
from history import site
from history.dialect import dialect_of
from history.energy import Figures
from history.hierarchy import Flow, Node, Site
from history.periods import Unit
from history.site import HouseComparison, HousePeriod, Meters
from history.tables import Meter
from web.context import parts
from web.energy import EnergyQuery, span_of
from web.latest import Source
from web.marks import Mark, marks
from web.meters import DEFAULT_SPAN
from web.openapi import Api
from web.parameters import A_DAY, Moment
from web.representations import Form, FormQuery, csv_text, respond
from web.responses import invalid_parameter, json_response
from web.summary import SummaryQuery
from web.summary import span_of as span_of_summary

NOW = timedelta(seconds=60)
"""Age up to which a reading is the power of now, or three intervals of its meter if longer."""
UNKNOWN_INTERVAL = timedelta(minutes=5)
"""The same for a meter whose interval is not known."""
LONGEST_INTERVAL_S = 1e6

api = Api("site", "site", "The house: what its meters measure together")

_Watts = Annotated[float | None, Field(description="In W; null: unknown, or no such meter.")]
_Kwh = Annotated[float | None, Field(description="In kWh; null: unknown, or no such meter.")]
_Share = Annotated[float | None, Field(ge=0, le=1)]
_From = Annotated[datetime, Field(alias="from")]


class Powers(TypedDict):
    """Power of a house: that of the grid is positive while it imports, of storage while it charges.

    `rest` is the consumption that no consumer's meter measures.
    """

    consumption: _Watts
    grid: _Watts
    production: _Watts
    storage: _Watts
    consumers: _Watts
    rest: _Watts


class MeterPeriod(TypedDict):
    """What a meter counted in a period; `rest` is what no meter below it measured."""

    imported: _Kwh
    exported: _Kwh
    cost: float | None
    rest: _Kwh


class HousePeriodBody(TypedDict):
    """Energy and cost of a house in a period; `rest` is what no consumer's meter measured."""

    since: _From
    to: datetime
    measured_by: Role | None
    consumption: _Kwh
    imported: _Kwh
    exported: _Kwh
    production: _Kwh
    charged: _Kwh
    discharged: _Kwh
    consumers: _Kwh
    rest: _Kwh
    self_consumed: _Kwh
    self_consumption: _Share
    self_sufficiency: _Share
    cost: float | None
    uncovered: _Kwh
    meters: NotRequired[dict[str, MeterPeriod]]


_COLUMNS = ("from", *(name for name in HousePeriodBody.__annotations__ if name != "since"))


class Compared(TypedDict):
    """The running period, the one before up to the same point, and the whole of it."""

    now: HousePeriodBody
    before_so_far: HousePeriodBody
    before: HousePeriodBody


class NoteBody(TypedDict):
    """What a person should look at: a meter, and a sentence about it."""

    meter_id: str
    text: str
    kind: Annotated[site.NoteKind, Field(description="For sentences in another language.")]
    kwh: _Kwh
    other: Annotated[str | None, Field(description="The parent, or the path of parents.")]


class Branch(TypedDict):
    """A meter of the house; `rest` is the power that no meter below it measures."""

    meter_id: str
    name: str
    role: Role
    role_is_assumed: bool
    billing: Billing
    online: bool | None
    power: _Watts
    rest: _Watts
    today: MeterPeriod | None
    children: "list[Branch]"


class HouseNow(TypedDict):
    """A house now: its power, today's energy, and its meters, each with those below it."""

    ts: datetime
    timezone: str
    currency: str | None
    measured_by: Role | None
    power: Powers
    today: Compared | None
    meters: list[Branch]
    notes: list[NoteBody]


class HouseEnergy(TypedDict):
    """Energy and cost of a house by periods."""

    period: Unit
    timezone: str
    currency: str | None
    periods: list[HousePeriodBody]
    running: Compared
    notes: list[NoteBody]


class HouseSummary(HousePeriodBody):
    """Energy and cost of a house between two times."""

    currency: str | None
    marks: list[Mark]


_Column = list[float | None]


class HouseSeries(TypedDict):
    """Columns for a chart: times in epoch seconds, and mean powers in W."""

    ts: list[float]
    consumption: _Column
    grid: _Column
    production: _Column
    storage: _Column
    consumers: _Column
    rest: _Column
    meters: NotRequired[dict[str, _Column]]


class HouseQuery(EnergyQuery, FormQuery):
    """Periods to return, and how to compute their costs."""

    tariff: str | None = Field(
        None, description="Tariff to compute costs by (default: those of the meters)."
    )
    meters: bool = Field(True, description="Also return each meter, which takes longer.")


class HouseSummaryQuery(SummaryQuery):
    """Period to sum up."""

    meters: bool = Field(True, description="Also return each meter, which takes longer.")


class SeriesQuery(BaseModel):
    """Period to return."""

    since: Moment | None = Field(
        None,
        alias="from",
        description="Start of the period (default: 1 h before `to`).",
        examples=A_DAY["from"],
    )
    until: Moment | None = Field(
        None,
        alias="to",
        description="End of the period, not included (default: now).",
        examples=A_DAY["to"],
    )
    points: int = Field(
        500, ge=1, le=1000, description="Number of points, each the mean of its interval."
    )
    meters: bool = Field(False, description="Also return the power of each meter.")


@api.add(
    "GET",
    "/site/",
    summary="The house now, and its meters as a tree",
    operation_id="get_site",
    response=HouseNow,
)
def house_now() -> Response:
    """Power now, energy of today and of yesterday, and both of each meter.

    Unknown values are null.
    """
    now, shared = datetime.now(UTC), parts()
    live, tariffs, zone = dict(shared.latest.meters), shared.tariffs, shared.zone

    def stored(database: peewee.Database) -> tuple[Meters, HouseComparison | None]:
        meters = site.read(database)
        with dialect_of(database).snapshot():
            of_house = site.HouseEnergy(database, meters, zone, now, tariffs=tariffs)
            return meters, of_house.compare(Unit.DAY)

    nothing: tuple[Meters, HouseComparison | None] = (Meters([]), None)
    meters, today = shared.history.query(stored, empty=nothing)
    meters = _with_live(meters, live, now)
    house = meters.site(now - NOW, now, now)
    measured = {name: _power(live.get(name), now) for name in house.nodes}
    body = {
        "ts": format_time(now),
        "timezone": zone.key,
        "currency": tariffs.currency if tariffs else None,
        "measured_by": house.measured_by,
        "power": _powers(site.powers(house, measured)),
        "today": _comparison(today) if today else None,
        "meters": _tree(house, measured, today.now if today else None),
        "notes": _notes(meters, [today.now, today.before] if today else []),
    }
    return json_response(orjson.dumps(body))


@api.add(
    "GET",
    "/site/energy",
    summary="Energy and cost of the house",
    operation_id="get_site_energy",
    response=HouseEnergy | None,
    csv=True,
    versioned=True,
)
def house_energy(query: HouseQuery) -> Response:
    """Energy in kWh of the house and each meter, by periods of the site's time zone (TIMEZONE).

    `running` compares the current period with the one before. Unknown values are null, and so is
    a cost where some energy has no price: `uncovered` is how much. Null while there is no history.
    CSV has the periods alone, with columns for each meter.
    """
    now, shared, form = datetime.now(UTC), parts(), query.form
    unit, zone, tariffs = query.period, shared.zone, shared.tariffs
    span = span_of(query, now)
    if isinstance(span, Response):
        return span
    known = tariffs.named if tariffs else {}
    if query.tariff and query.tariff not in known:
        return invalid_parameter("tariff", f"should be one of {', '.join(known) or 'none'}")

    def encoded(database: peewee.Database) -> bytes:
        prices: dict[str, Any] = {}
        if query.costs:
            prices = {"tariffs": tariffs, "tariff": query.tariff, "each_cost": query.meters}
        with dialect_of(database).snapshot():
            meters = site.read(database)
            of_house = site.HouseEnergy(database, meters, zone, now, **prices)
            found, running = of_house.periods(unit, *span), of_house.compare(unit)
        periods = [_period(period, meters=query.meters) for period in found]
        if form is Form.CSV:
            return _csv(periods)
        body = {
            "period": unit,
            "timezone": zone.key,
            "currency": tariffs.currency if tariffs else None,
            "periods": periods,
            "running": _comparison(running, meters=query.meters),
            "notes": _notes(meters, found),
        }
        return orjson.dumps(body)

    empty = _csv([]) if form is Form.CSV else b"null"
    return respond(shared.history.query(encoded, empty=empty), form, until=query.until)


@api.add(
    "GET",
    "/site/summary",
    summary="Energy and cost of the house between two times",
    operation_id="get_site_summary",
    response=HouseSummary | None,
)
def house_summary(query: HouseSummaryQuery) -> Response:
    """Any two times, as a person drags them over a chart. Null while there is no history."""
    now, shared = datetime.now(UTC), parts()
    span = span_of_summary(query, now)
    if isinstance(span, Response):
        return span
    tariffs = shared.tariffs

    def encoded(database: peewee.Database) -> bytes:
        with dialect_of(database).snapshot():
            meters = site.read(database)
            of_house = site.HouseEnergy(
                database, meters, shared.zone, now, tariffs=tariffs, each_cost=query.meters
            )
            (found,) = of_house.between(span)
            there = [node.meter for node in found.site.nodes.values()]
            explained = marks(database, there, *span)
        currency = tariffs.currency if tariffs else None
        figures = _period(found, meters=query.meters)
        return orjson.dumps({"currency": currency, **figures, "marks": explained})

    return json_response(shared.history.query(encoded, empty=b"null"))


@api.add(
    "GET",
    "/site/series",
    summary="Columns of the house for a chart",
    operation_id="get_site_series",
    response=HouseSeries,
)
def house_series(query: SeriesQuery) -> Response:
    """Column `ts` in epoch seconds, and mean powers in W of the house and of each role.

    Unknown values are null. With `meters`, an object of that name has a column for each meter.
    """
    now = datetime.now(UTC)
    until = query.until or now
    since = query.since or until - DEFAULT_SPAN
    if since >= until:
        return invalid_parameter("from", "should be before `to`")

    def encoded(database: peewee.Database) -> bytes:
        with dialect_of(database).snapshot():
            chart = site.series(database, since, until, query.points, now)
        more = {"meters": chart.meters} if query.meters else {}
        return orjson.dumps({"ts": chart.ts, **chart.columns, **more})

    empty: dict[str, Any] = {name: [] for name in ("ts", *site.POWERS)}
    empty |= {"meters": {}} if query.meters else {}
    return json_response(parts().history.query(encoded, empty=orjson.dumps(empty)))


# -- live --------------------------------------------------------------------------------------


def _with_live(meters: Meters, live: Mapping[str, Source], now: datetime) -> Meters:
    """Return the meters of the history, and those that have only sent live messages so far."""
    known = {meter.name for meter in meters.all}
    new = [
        _live_meter(name, source, epoch_ms(now))
        for name, source in live.items()
        if name not in known and source.newest
    ]
    return Meters([*meters.all, *new], meters.without_export) if new else meters


def _live_meter(meter_id: str, source: Source, now_ms: int) -> Meter:
    try:
        info = decode_settings(source.payloads.get("info", "{}"))
    except PayloadError:
        info = MeterSettings()
    meter = Meter(0, meter_id, now_ms - 1, now_ms, snapshots=False)
    return meter._replace(role=info.role, parent=info.parent, title=info.name, billing=info.billing)


def _power(source: Source | None, now: datetime) -> Flow:
    """Return the power of a meter now; None where it is offline or its reading too old."""
    if source is None or source.newest is None:
        return None
    seconds = (source.value("info") or {}).get("interval")
    longest = UNKNOWN_INTERVAL
    if isinstance(seconds, int | float) and 0 < seconds < LONGEST_INTERVAL_S:
        longest = max(3 * timedelta(seconds=seconds), NOW)
    is_now = now - source.newest.ts <= longest
    is_online = parts().latest.online(source.newest.meter_id) is not False
    return source.newest.values.get("power") if is_now and is_online else None


def _tree(
    house: Site, measured: Mapping[str, Flow], today: HousePeriod | None
) -> list[dict[str, Any]]:
    """Return the meters without a parent, each with those below it."""
    rests = site.powers(house, measured).rests

    def branch(node: Node) -> dict[str, Any]:
        name = node.meter_id
        return {
            "meter_id": name,
            "name": node.meter.title or name,
            "role": node.role,
            "role_is_assumed": node.meter.role is None,
            "billing": node.meter.billing or "per_phase",
            "online": parts().latest.online(name),
            "power": measured[name],
            "rest": rests.get(name),
            "today": _today(today, name),
            "children": [branch(house.nodes[child]) for child in node.children],
        }

    return [branch(node) for node in house.nodes.values() if node.parent is None]


def _today(today: HousePeriod | None, name: str) -> dict[str, Flow] | None:
    if today is None or name not in today.meters:
        return None
    return _of_meter(today.meters[name], today.balance.rests.get(name))


def _powers(balance: site.Balance) -> dict[str, Flow]:
    return {name: _rounded(getattr(balance, name), 1) for name in site.POWERS}


# -- energy ------------------------------------------------------------------------------------


def _comparison(found: HouseComparison, *, meters: bool = True) -> dict[str, Any]:
    return {
        "now": _period(found.now, meters=meters),
        "before_so_far": _period(found.before_so_far, meters=meters),
        "before": _period(found.before, meters=meters),
    }


def _period(found: HousePeriod, *, meters: bool = True) -> dict[str, Any]:
    flows, rests = found.balance, found.balance.rests
    figures = {
        "consumption": flows.consumption,
        "imported": found.imported,
        "exported": found.exported,
        "production": flows.production,
        "charged": found.charged,
        "discharged": found.discharged,
        "consumers": flows.consumers,
        "rest": flows.rest,
        "self_consumed": found.self_consumed,
        "cost": found.cost,
        "uncovered": found.uncovered,
    }
    body: dict[str, Any] = {
        "from": found.start.isoformat(timespec="seconds"),
        "to": found.end.isoformat(timespec="seconds"),
        "measured_by": found.site.measured_by,
        **{name: _rounded(value) for name, value in figures.items()},
        "self_consumption": found.self_consumption,
        "self_sufficiency": found.self_sufficiency,
    }
    if meters:
        body["meters"] = {
            name: _of_meter(each, rests.get(name)) for name, each in found.meters.items()
        }
    return body


def _csv(periods: Sequence[Mapping[str, Any]]) -> bytes:
    """Return periods as CSV; the columns of a meter begin with its id."""
    ids = dict.fromkeys(meter_id for period in periods for meter_id in period.get("meters", ()))
    names = [name for name in _COLUMNS if name != "meters"]
    of_meters = [(meter_id, name) for meter_id in ids for name in MeterPeriod.__annotations__]
    rows = (
        [
            *map(period.get, names),
            *(period["meters"].get(meter_id, {}).get(name) for meter_id, name in of_meters),
        ]
        for period in periods
    )
    return csv_text([[*names, *map("_".join, of_meters)], *rows])


def _of_meter(figures: Figures, rest: Flow) -> dict[str, Flow]:
    imported, exported, cost, _ = figures
    return {
        "imported": None if imported is None else round(imported, 3),
        "exported": None if exported is None else round(exported, 3),
        "cost": None if cost is None else round(cost, 3),
        "rest": None if rest is None else round(rest, 3),
    }


def _notes(meters: Meters, found: Sequence[HousePeriod]) -> list[dict[str, Any]]:
    return [{**asdict(note), "kwh": _rounded(note.kwh)} for note in site.notes(meters.all, found)]


def _rounded(value: Flow, digits: int = 3) -> Flow:
    return None if value is None else round(value, digits)
