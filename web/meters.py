"""/meters/: the known meters with their latest readings, and their columns for a chart."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, Field

from contract.quantities import BY_NAME
from contract.readings import Reading
from contract.times import format_time
from history import queries
from history.errors import StorageError
from history.series import columns as history_columns
from history.series import series as history_series
from web.context import parts
from web.latest import Source
from web.openapi import Api
from web.parameters import MeterPath, Moment
from web.responses import error_response, invalid_parameter, json_response

LONGEST_NAME = 100
DEFAULT_SPAN = timedelta(hours=1)

api = Api("meters", "meters", "Meters and their charts")

Row = tuple[queries.MeterEntry, Reading | None]


class SeriesQuery(BaseModel):
    """Columns and period to return."""

    quantities: str = Field("power", description="Names of quantities, separated by commas.")
    since: Moment | None = Field(
        None, alias="from", description="Start of the period (default: 1 h before `to`)."
    )
    until: Moment | None = Field(
        None, alias="to", description="End of the period, not included (default: now)."
    )
    points: int = Field(
        500, ge=1, le=1000, description="Largest number of points, each the mean of its interval."
    )
    extremes: bool = Field(
        False,
        description="Also return <name>_min, <name>_max, and `level` (0 = readings, else minutes).",
    )


@api.add("GET", "/meters/", summary="All meters")
def list_meters() -> Response:
    """Meters of the history and of MQTT, each with its state and its latest reading."""
    live = dict(parts().latest.meters)
    rows = parts().history.query(lambda db: _rows(db, live), empty=list[Row]())
    stored = {entry.meter_id: (entry, reading) for entry, reading in rows}
    ids = sorted({*stored, *live}, key=queries.natural_order)
    return json_response(json.dumps([_meter(i, stored.get(i), live.get(i)) for i in ids]))


@api.add("GET", "/meters/<meter_id>/series", summary="Columns for a chart")
def series(path: MeterPath, query: SeriesQuery) -> Response:
    """Column `ts` in epoch seconds, and a column of means for each quantity.

    With `extremes`, a gap in the readings is one point without values.
    """
    names = [name for name in query.quantities.split(",") if name]
    unknown = next((name for name in names if name not in BY_NAME), None)
    if unknown or not names:
        return invalid_parameter("quantities", f"unknown quantity {unknown or ''!r}")
    until = query.until or datetime.now(UTC)
    since = query.since or until - DEFAULT_SPAN
    if since >= until:
        return invalid_parameter("from", "should be before `to`")

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        chart = _with_extremes if query.extremes else history_columns
        columns = chart(database, path.meter_id, names, since, until, query.points)
        return orjson.dumps(columns), bool(columns["ts"])

    return of_meter(path.meter_id, encoded, orjson.dumps({name: [] for name in ("ts", *names)}))


def _with_extremes(
    database: peewee.Database,
    meter_id: str,
    names: list[str],
    since: datetime,
    until: datetime,
    points: int,
) -> dict[str, Any]:
    chart = history_series(database, meter_id, names, since, until, points)
    columns: dict[str, Any] = {"level": chart.level, "ts": chart.ts}
    for name, column in chart.columns.items():
        columns |= {name: column.mean, f"{name}_min": column.min, f"{name}_max": column.max}
    return columns


def of_meter(
    meter_id: str,
    query: Callable[[peewee.Database], tuple[bytes, bool]],
    empty: bytes,
    *,
    is_short: bool = False,
) -> Response:
    """Return the JSON of a meter; `empty` while there is no history.

    The query also returns whether it found anything: otherwise a meter that has never sent a
    message returns 404. A query that `is_short` reads a few rows.
    """
    is_live = meter_id in parts().latest.meters

    def found(database: peewee.Database) -> bytes | None:
        body, is_found = query(database)
        return body if is_found or is_live or queries.is_known(database, meter_id) else None

    history = parts().history
    run = history.query_now if is_short else history.query
    body = run(found, empty=empty if is_live else None)
    if body is None:
        return error_response(404, f"unknown meter {meter_id[:40]!r}; see /meters/")
    return json_response(body)


def latest_reading(meter_id: str) -> Reading | None:
    """Return a meter's newest reading, stored or live; only live while the history is down."""
    live = parts().latest.newest(meter_id)
    try:
        stored = parts().history.query(lambda db: queries.latest(db, meter_id), empty=None)
    except StorageError:
        return live
    known = [reading for reading in (stored, live) if reading]
    return max(known, key=lambda reading: reading.ts, default=None)


def _rows(database: peewee.Database, sources: dict[str, Source]) -> list[Row]:
    """Return the meters of the history; their newest reading is queried where none is live."""
    rows: list[Row] = []
    for entry in queries.meters(database):
        source = sources.get(entry.meter_id)
        live = source.newest if source else None
        is_newest = live is not None and live.ts >= entry.last_seen
        rows.append((entry, live if is_newest else queries.latest(database, entry.meter_id)))
    return rows


def _meter(meter_id: str, row: Row | None, source: Source | None) -> dict[str, Any]:
    info = (source.value("info") if source else None) or {}
    newest = row[1] if row else None
    if source and source.newest and (newest is None or source.newest.ts > newest.ts):
        newest = source.newest
    first = row[0].first_seen if row else (source.first_seen if source else None)
    return {
        "meter_id": meter_id,
        "name": _text(info.get("name")) or meter_id,
        "online": parts().latest.online(meter_id),
        "status": source.value("status") if source else None,
        "last_seen": format_time(newest.ts) if newest else None,
        "first_seen": format_time(first) if first else None,
        "interval": _seconds(info.get("interval")),
        "model": _text(info.get("model")),
        "latest": newest.to_dict() if newest else None,
    }


def _text(value: object) -> str | None:
    return value[:LONGEST_NAME] if isinstance(value, str) else None


def _seconds(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else None  # type: ignore[operator, arg-type]
