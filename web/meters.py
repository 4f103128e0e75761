"""/meters/: the known meters with their latest readings, and their columns for a chart."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal, NotRequired, TypeVar

import gevent
import orjson
import peewee
from flask import Response, abort
from pydantic import BeforeValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from contract.meter_settings import Billing, Role
from contract.quantities import BY_NAME
from contract.readings import Reading
from contract.times import format_time, from_epoch_ms
from history import queries
from history.errors import StorageError
from history.series import columns as history_columns
from history.series import series as history_series
from web.context import parts
from web.latest import Source
from web.openapi import Api
from web.parameters import A_DAY, MeterId, MeterPath, Moment, Quantities, list_schema, listed
from web.representations import Form, FormQuery, csv_text, respond, with_next_page
from web.responses import error_response, invalid_parameter
from web.schemas import ReadingRow
from web.stored_meters import Row

LONGEST_NAME = 100
LONGEST_INTERVAL_S = 1e9
DEFAULT_SPAN = timedelta(hours=1)
BATCH = 500
"""Meters that are described before other greenlets run."""

T = TypeVar("T")

api = Api("meters", "meters", "Meters and their charts")


class Meter(TypedDict):
    """A meter: what it is, whether it is online, and its latest reading."""

    meter_id: str
    name: NotRequired[Annotated[str, Field(description="Its name for people, else its id.")]]
    role: NotRequired[Annotated[Role | None, Field(description="What is behind it.")]]
    parent: NotRequired[
        Annotated[str | None, Field(description="The meter that also measures what it measures.")]
    ]
    billing: NotRequired[Annotated[Billing, Field(description="Which counters are the bill.")]]
    online: NotRequired[
        Annotated[bool | None, Field(description="Whether it and its bridge are; null: unknown.")]
    ]
    status: NotRequired[Literal["online", "offline"] | None]
    last_seen: NotRequired[datetime | None]
    first_seen: NotRequired[datetime | None]
    interval: NotRequired[
        Annotated[float | None, Field(description="Seconds between two readings.")]
    ]
    model: NotRequired[str | None]
    latest: NotRequired[ReadingRow | None]


FIELDS = tuple(Meter.__annotations__)


class MeterQuery(FormQuery):
    """Fields of a meter to return."""

    fields: (
        Annotated[
            tuple[str, ...],
            BeforeValidator(partial(listed, FIELDS, "field")),
            WithJsonSchema(list_schema(FIELDS)),
        ]
        | None
    ) = Field(None, description="Fields to return (default: all); meter_id always is one.")


class MetersQuery(MeterQuery):
    """Meters to return."""

    limit: int | None = Field(
        None, ge=1, le=10_000, description="Largest number of meters (default: all)."
    )
    cursor: MeterId | None = Field(
        None, description="The meter after which to begin; take it from the header Link."
    )


class SeriesQuery(FormQuery):
    """Columns and period to return."""

    quantities: Quantities = Field(
        ("power",), description="Names of quantities, separated by commas."
    )
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
        500, ge=1, le=1000, description="Largest number of points, each the mean of its interval."
    )
    extremes: bool = Field(
        False,
        description="Also return <name>_min, <name>_max, and `level` (0 = readings, else minutes).",
    )


SeriesColumns = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "title": "Series",
            "type": "object",
            "required": ["ts"],
            "properties": {
                "ts": {
                    "description": "Times of the points in epoch seconds.",
                    "type": "array",
                    "items": {"type": "number"},
                },
                "level": {"type": "integer", "description": "0: readings, else minutes."},
            },
            "additionalProperties": {"type": "array", "items": {"type": ["number", "null"]}},
        }
    ),
]


@api.add(
    "GET",
    "/meters/",
    summary="All meters",
    operation_id="list_meters",
    response=list[Meter],
    csv=True,
    paged=True,
)
def list_meters(query: MetersQuery) -> Response:
    """Meters of the history and of MQTT, each with its state and its latest reading."""
    form = query.form
    live = dict(parts().latest.meters)
    stored = parts().stored_meters.rows(live)
    ids = sorted({*stored, *live}, key=queries.natural_order)
    if query.cursor:
        after = queries.natural_order(query.cursor)
        ids = [each for each in ids if queries.natural_order(each) > after]
    following = None
    if query.limit and len(ids) > query.limit:
        ids = ids[: query.limit]
        following = ids[-1]
    found = []
    for count, meter_id in enumerate(ids, 1):
        found.append(_meter(meter_id, stored.get(meter_id), live.get(meter_id), query.fields))
        if count % BATCH == 0:
            gevent.sleep(0)
    encode = _csv if form is Form.CSV else orjson.dumps
    return with_next_page(respond(encode(found), form), following)


@api.add(
    "GET",
    "/meters/<meter_id>",
    summary="One meter",
    operation_id="get_meter",
    response=Meter,
    csv=True,
)
def one_meter(path: MeterPath, query: MeterQuery) -> Response:
    """Return the state of a meter and its latest reading."""
    form, meter_id = query.form, path.meter_id
    source = parts().latest.meters.get(meter_id)
    live = {meter_id: source} if source else {}
    row = parts().stored_meters.rows(live, [meter_id]).get(meter_id)
    if not (row or source):
        return unknown_meter(meter_id)
    meter = _meter(meter_id, row, source, query.fields)
    return respond(_csv([meter]) if form is Form.CSV else orjson.dumps(meter), form)


@api.add(
    "GET",
    "/meters/<meter_id>/series",
    summary="Columns for a chart",
    operation_id="get_series",
    response=SeriesColumns,
    csv=True,
    versioned=True,
)
def series(path: MeterPath, query: SeriesQuery) -> Response:
    """Column `ts` in epoch seconds, and a column of means for each quantity.

    With `extremes`, a gap in the readings is one point without values. In CSV, `ts` is ISO 8601.
    """
    until = query.until or datetime.now(UTC)
    since = query.since or until - DEFAULT_SPAN
    if since >= until:
        return invalid_parameter("from", "should be before `to`")
    form, names = query.form, query.quantities
    encode = _series_csv if form is Form.CSV else orjson.dumps

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        chart = _with_extremes if query.extremes else history_columns
        columns = chart(database, path.meter_id, names, since, until, query.points)
        return encode(columns), bool(columns["ts"])

    empty = encode({name: [] for name in ("ts", *names)})
    return of_meter(path.meter_id, encoded, empty, form=form, until=query.until)


def _with_extremes(
    database: peewee.Database,
    meter_id: str,
    names: Sequence[str],
    since: datetime,
    until: datetime,
    points: int,
) -> dict[str, Any]:
    chart = history_series(database, meter_id, names, since, until, points)
    columns: dict[str, Any] = {"level": chart.level, "ts": chart.ts}
    for name, column in chart.columns.items():
        columns |= {name: column.mean, f"{name}_min": column.min, f"{name}_max": column.max}
    return columns


def _series_csv(columns: Mapping[str, Any]) -> bytes:
    wanted = {name: column for name, column in columns.items() if name != "level"}
    times = [format_time(from_epoch_ms(round(ts * 1000))) for ts in wanted.pop("ts")]
    return csv_text([("ts", *wanted), *zip(times, *wanted.values(), strict=True)])


def of_meter(
    meter_id: str,
    query: Callable[[peewee.Database], tuple[bytes, bool]],
    empty: bytes,
    *,
    form: Form = Form.JSON,
    until: datetime | None = None,
) -> Response:
    """Return what a query finds of a meter; `empty` while there is no history, 404 for no meter.

    The query also returns whether it found anything. `until` is the end of the period, if the
    client has set one.
    """
    return respond(find(meter_id, query, empty), form, until=until)


def find(
    meter_id: str,
    query: Callable[[peewee.Database], tuple[T, bool]],
    empty: T,
    *,
    key: Hashable = None,
) -> T:
    """Return what a query finds of a meter; answer 404 for a meter that has never sent anything.

    A query with a `key` reads a few rows, and its result is the same for the same key.
    """
    shared = parts()
    is_live = meter_id in shared.latest.meters

    def found(database: peewee.Database) -> tuple[T] | None:
        result, is_found = query(database)
        return (result,) if is_found or is_live or queries.is_known(database, meter_id) else None

    nothing = (empty,) if is_live else None
    if key is None:
        result = shared.history.query(found, empty=nothing)
    else:
        result = shared.history.query_now(found, key=(key, is_live), empty=nothing)
    if result is None:
        abort(unknown_meter(meter_id))
    return result[0]


def unknown_meter(meter_id: str) -> Response:
    """Return 404 with the id of the meter that there is not."""
    return error_response(404, f"unknown meter {meter_id!r}; see /meters/")


def latest_reading(meter_id: str, *, before: datetime | None = None) -> Reading | None:
    """Return a meter's newest reading, stored or live; only live while the history is down.

    Of the stored ones only those `before` a moment, if there is one.
    """
    live = parts().latest.newest(meter_id)
    try:
        stored = parts().history.query(
            lambda database: queries.readings(database, meter_id, until=before, limit=1),
            empty=list[Reading](),
        )
    except StorageError:
        return live
    known = [*stored, live] if live else stored
    return max(known, key=lambda reading: reading.ts, default=None)


def _meter(
    meter_id: str, row: Row | None, source: Source | None, fields: Sequence[str] | None
) -> dict[str, Any]:
    info = (source.value("info") if source else None) or {}
    newest = row[1] if row else None
    if source and source.newest and (newest is None or source.newest.ts > newest.ts):
        newest = source.newest
    first = row[0].first_seen if row else (source.first_seen if source else None)
    entry = row[0] if row else None
    found = {
        "meter_id": meter_id,
        "name": (entry and entry.name) or _text(info.get("name")) or meter_id,
        "role": entry.role if entry else None,
        "parent": entry.parent if entry else None,
        "billing": (entry and entry.billing) or Billing.PER_PHASE,
        "online": parts().latest.online(meter_id),
        "status": source.value("status") if source else None,
        "last_seen": format_time(newest.ts) if newest else None,
        "first_seen": format_time(first) if first else None,
        "interval": _seconds(info.get("interval")),
        "model": _text(info.get("model")),
        "latest": newest.to_dict() if newest else None,
    }
    if fields is None:
        return found
    return {name: found[name] for name in FIELDS if name == FIELDS[0] or name in fields}


def _csv(meters: Sequence[Mapping[str, Any]]) -> bytes:
    """Return meters as CSV, with a column for each quantity of their latest readings."""
    plain = [name for name in FIELDS if name != "latest" and (not meters or name in meters[0])]
    readings = [meter.get("latest") or {} for meter in meters]
    sent = {name for reading in readings for name in reading}
    quantities = [name for name in BY_NAME if name in sent]
    return csv_text(
        [
            (*plain, *quantities),
            *(
                [*map(meter.get, plain), *map(reading.get, quantities)]
                for meter, reading in zip(meters, readings, strict=True)
            ),
        ]
    )


def _text(value: object) -> str | None:
    """Return a text that a device has sent, fit for UTF-8."""
    if not isinstance(value, str):
        return None
    return value[:LONGEST_NAME].encode("utf-8", "replace").decode()


def _seconds(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < LONGEST_INTERVAL_S else None  # type: ignore[operator, arg-type]
