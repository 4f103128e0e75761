"""/traces/: the last minutes of several meters, up to their newest readings.

A recorder stores readings up to 30 s after they arrive. Those that are not stored yet come from the
memory of this service.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from contract.readings import Reading
from contract.topics import METER_ID
from history.dialect import dialect_of
from history.series import columns
from web.context import parts
from web.meters import SeriesColumns
from web.openapi import Api
from web.parameters import MeterId, Quantities
from web.responses import json_response

MOST_METERS = 50

api = Api("traces", "meters", "Meters and their charts")


def _ids(value: object) -> object:
    return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value


_Columns = Mapping[str, Sequence[float | None]]
_Ids = Annotated[
    tuple[MeterId, ...],
    BeforeValidator(_ids),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": f"^{METER_ID.pattern}$"},
            "minItems": 1,
            "maxItems": MOST_METERS,
        }
    ),
]


class TracesQuery(BaseModel):
    """Meters, columns and period to return."""

    meters: _Ids = Field(
        max_length=MOST_METERS,
        description="Ids of meters, separated by commas.",
        examples=[["1", "2"]],
    )
    quantities: Quantities = Field(
        ("power",), description="Names of quantities, separated by commas."
    )
    seconds: int = Field(600, ge=1, le=86_400, description="Length of the period, up to now.")
    points: int = Field(300, ge=1, le=1000, description="Largest number of points of the history.")


@api.add(
    "GET",
    "/traces/",
    summary="The last minutes of several meters",
    operation_id="get_traces",
    response=dict[str, SeriesColumns],
)
def traces(query: TracesQuery) -> Response:
    """For each meter, column `ts` in epoch seconds and a column of each quantity.

    Points are means of equal slices of time, then come the readings that are not stored yet.
    A meter that is unknown has no points.
    """
    now, names = datetime.now(UTC), query.quantities
    since = now - timedelta(seconds=query.seconds)
    live = {each: list(parts().latest.recent(each, since)) for each in query.meters}

    def stored(database: peewee.Database) -> dict[str, _Columns]:
        with dialect_of(database).snapshot():
            return {
                meter_id: columns(database, meter_id, names, since, now, query.points)
                for meter_id in query.meters
            }

    nothing: dict[str, _Columns]
    nothing = {each: {name: [] for name in ("ts", *names)} for each in query.meters}
    found = parts().history.query(stored, empty=nothing)
    return json_response(
        orjson.dumps({each: _extended(found[each], live[each]) for each in query.meters})
    )


def _extended(stored: _Columns, live: Iterable[Reading]) -> dict[str, list[float | None]]:
    """Return columns with the readings that are newer than their last point."""
    newest = (stored["ts"][-1] if stored["ts"] else None) or 0
    rows = [reading for reading in live if reading.ts.timestamp() > newest]
    made = {
        name: [*column, *(row.values.get(name) for row in rows)] for name, column in stored.items()
    }
    made["ts"] = [*stored["ts"], *(row.ts.timestamp() for row in rows)]
    return made
