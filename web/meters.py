"""/meters/: which meters there are, what they last said, and their columns for a chart."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from contract.quantities import BY_NAME
from contract.readings import Reading, format_time
from history import queries
from history.series import columns as history_columns
from history.series import series as history_series
from web.answers import json_answer, refusal
from web.context import parts
from web.latest import Unit
from web.times import Moment

LONGEST_NAME = 100
DEFAULT_SPAN = timedelta(hours=1)

blueprint = APIBlueprint(
    "meters", __name__, abp_tags=[Tag(name="meters", description="Meters and their charts")]
)

Row = tuple[queries.MeterEntry, Reading | None]


class MeterPath(BaseModel):
    """Which meter."""

    meter_id: str = Field(description="The meter's id on MQTT.")


class SeriesQuery(BaseModel):
    """Which columns of which time are wanted."""

    quantities: str = Field("power", description="Names of the catalogue, separated by commas.")
    since: Moment | None = Field(None, alias="from", description="From then; default: 1 h ago.")
    until: Moment | None = Field(None, alias="to", description="Before then; default: now.")
    points: int = Field(
        500, ge=1, le=1000, description="At most so many, each the mean of a slice."
    )
    extremes: bool = Field(
        False, description="Also level (0: readings, else minutes), <name>_min and <name>_max."
    )


@blueprint.get("/meters/", summary="All meters", strict_slashes=False)
def list_meters() -> Response:
    """Those of the history, and those that were only heard; each with its latest reading."""
    heard = dict(parts().latest.meters)
    rows = parts().stored.ask(lambda db: _rows(db, heard), empty=list[Row]())
    stored = {entry.meter_id: (entry, reading) for entry, reading in rows}
    ids = sorted({*stored, *heard}, key=queries.natural_order)
    return json_answer(json.dumps([_meter(i, stored.get(i), heard.get(i)) for i in ids]))


@blueprint.get("/meters/<meter_id>/series", summary="Columns for a chart", strict_slashes=False)
def series(path: MeterPath, query: SeriesQuery) -> Response:
    """Answers `ts` in epoch seconds and one column of means for each quantity.

    With `extremes`, a gap in the readings is one point without values.
    """
    names = [name for name in query.quantities.split(",") if name]
    unknown = next((name for name in names if name not in BY_NAME), None)
    if unknown or not names:
        return refusal(422, _wrong("quantities", f"is no quantity: {unknown or ''!r}"))
    until = query.until or datetime.now(UTC)
    since = query.since or until - DEFAULT_SPAN
    if since >= until:
        return refusal(422, _wrong("from", "should be before `to`"))
    if not is_known(path.meter_id):
        return unknown_meter(path.meter_id)

    def encoded(database: peewee.Database) -> str:
        chart = _with_extremes if query.extremes else history_columns
        columns = chart(database, path.meter_id, names, since, until, query.points)
        return json.dumps(columns, separators=(",", ":"))

    empty = json.dumps({name: [] for name in ("ts", *names)})
    return json_answer(parts().stored.ask(encoded, empty=empty))


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


def is_known(meter_id: str) -> bool:
    """Tell whether a meter was ever heard of. Raises StorageError."""
    if meter_id in parts().latest.meters:
        return True
    entries = parts().stored.ask(queries.meters, empty=list[queries.MeterEntry]())
    return any(entry.meter_id == meter_id for entry in entries)


def unknown_meter(meter_id: str) -> Response:
    """Return 404 for a meter that was never heard of."""
    return refusal(404, f"nothing was ever heard of a meter {meter_id[:40]!r}; see /meters/")


def _rows(database: peewee.Database, heard: dict[str, Unit]) -> list[Row]:
    """Return the meters of the history; the newest reading is looked up where none was heard."""
    rows: list[Row] = []
    for entry in queries.meters(database):
        unit = heard.get(entry.meter_id)
        live = unit.newest if unit else None
        is_newest = live is not None and live.ts >= entry.last_seen
        rows.append((entry, live if is_newest else queries.latest(database, entry.meter_id)))
    return rows


def _meter(meter_id: str, row: Row | None, unit: Unit | None) -> dict[str, Any]:
    info = (unit.said("info") if unit else None) or {}
    newest = row[1] if row else None
    if unit and unit.newest and (newest is None or unit.newest.ts > newest.ts):
        newest = unit.newest
    first = row[0].first_seen if row else (unit.first_seen if unit else None)
    return {
        "meter_id": meter_id,
        "name": _text(info.get("name")) or meter_id,
        "online": parts().latest.online(meter_id),
        "status": unit.said("status") if unit else None,
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


def _wrong(field: str, text: str) -> list[dict[str, Any]]:
    return [{"loc": ["query", field], "msg": text, "type": "value_error"}]
