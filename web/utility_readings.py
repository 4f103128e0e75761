"""/utility-readings/: what the utility's own meters showed, and by how much ours have drifted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import peewee
from flask import Response
from pydantic import Field
from typing_extensions import TypedDict

from history.utility_readings import Comparison, comparisons
from web import meters
from web.context import parts
from web.openapi import Api
from web.parameters import MeterPath
from web.representations import Form, FormQuery, encoded_rows, respond

api = Api("utility_readings", "utility readings", "Readings of the utility's own meters")

_Kwh = Annotated[float | None, Field(description="In kWh; null: unknown.")]


class UtilityReading(TypedDict):
    """A reading of the utility's meter that a person has entered, beside what ours counted.

    `counter` is the last value of our counter before it, of `measured_at`. `by_utility` and
    `by_meter` are what both have counted since the entry before; `drift` is their difference.
    """

    meter_id: str
    register: Literal["import", "export"]
    ts: datetime
    value: Annotated[float, Field(description="What the utility's meter showed, in kWh.")]
    counter: _Kwh
    measured_at: datetime | None
    since: datetime | None
    by_utility: _Kwh
    by_meter: _Kwh
    drift: _Kwh
    drift_percent: float | None


COLUMNS = tuple(UtilityReading.__annotations__)


@api.add(
    "GET",
    "/utility-readings/",
    summary="Readings of the utility's meters, of all meters",
    operation_id="list_utility_readings",
    response=list[UtilityReading],
    csv=True,
)
def list_all(query: FormQuery) -> Response:
    """Entries of `meterflow reading` in the order of meters and times, each with the drift."""
    form = query.form
    found = parts().history.query(comparisons, empty=list[Comparison]())
    return respond(_encoded(found, form), form)


@api.add(
    "GET",
    "/utility-readings/<meter_id>",
    summary="Readings of the utility's meter, of one meter",
    operation_id="list_utility_readings_of_meter",
    response=list[UtilityReading],
    csv=True,
)
def list_of_meter(path: MeterPath, query: FormQuery) -> Response:
    """Return the entries of a meter, as in the list of all."""
    form = query.form

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        found = comparisons(database, path.meter_id)
        return _encoded(found, form), bool(found)

    return meters.of_meter(path.meter_id, encoded, _encoded([], form), form=form)


def _encoded(found: Sequence[Comparison], form: Form) -> bytes:
    return encoded_rows(COLUMNS, [each.to_dict() for each in found], form)
