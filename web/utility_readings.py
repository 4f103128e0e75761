"""/utility-readings/: what the utility's own meters showed, and by how much ours have drifted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from contract import topics
from contract.arrival import MOST_AHEAD
from contract.times import epoch_ms, from_epoch_ms
from contract.utility_readings import Kwh, Register, Time, UtilityEntry
from history.tables import read_meter
from history.utility_readings import Comparison, UtilityReading, comparisons, value_at
from web import meters
from web.context import parts
from web.openapi import Api
from web.parameters import MeterPath, Moment
from web.publishing import publish
from web.representations import Form, FormQuery, encoded_rows, respond
from web.responses import error_response, json_response

api = Api("utility_readings", "utility readings", "Readings of the utility's own meters")

_Kwh = Annotated[float | None, Field(description="In kWh; null: unknown.")]


class ComparedReading(TypedDict):
    """A reading of the utility's meter that a person has entered, beside what ours counted.

    `counter` is the last value of our counter before it, of `measured_at`. `by_utility` and
    `by_meter` are what both have counted since the entry before; `drift` is their difference.
    """

    meter_id: str
    register: Register
    ts: datetime
    value: Annotated[float, Field(description="What the utility's meter showed, in kWh.")]
    counter: _Kwh
    measured_at: datetime | None
    since: datetime | None
    by_utility: _Kwh
    by_meter: _Kwh
    drift: _Kwh
    drift_percent: float | None


class NewUtilityReading(BaseModel):
    """What the utility's meter shows, or showed at a time in the past."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    direction: Register = Field(
        "import", alias="register", description="What is drawn, or what is fed in."
    )
    ts: Time | None = Field(None, description="Default: now.")
    value: Kwh = Field(description="In kWh.")


class EntryQuery(BaseModel):
    """The entry of a meter: its time, and the register of the utility's meter."""

    ts: Moment = Field(description="Time of the entry.", examples=["2026-11-01T07:30:00Z"])
    direction: Register = Field("import", alias="register", description="Register of the entry.")


COLUMNS = tuple(ComparedReading.__annotations__)


@api.add(
    "GET",
    "/utility-readings/",
    summary="Readings of the utility's meters, of all meters",
    operation_id="list_utility_readings",
    response=list[ComparedReading],
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
    response=list[ComparedReading],
    csv=True,
)
def list_of_meter(path: MeterPath, query: FormQuery) -> Response:
    """Return the entries of a meter, as in the list of all."""
    form = query.form

    def encoded(database: peewee.Database) -> tuple[bytes, bool]:
        found = comparisons(database, path.meter_id)
        return _encoded(found, form), bool(found)

    return meters.of_meter(path.meter_id, encoded, _encoded([], form), form=form)


@api.add(
    "POST",
    "/utility-readings/<meter_id>",
    summary="Enter a reading of the utility's meter",
    operation_id="enter_utility_reading",
    responses={
        201: {"description": "Stored; the response has the drift.", "response": ComparedReading},
        202: {"description": "Published, but not stored within 2 s.", "response": ComparedReading},
        503: {"description": "The broker is unreachable; try again."},
    },
    examples={"a reading of today": {"value": 12345.6}},
)
def enter(path: MeterPath, body: NewUtilityReading) -> Response:
    """Publish it on `meters/<meter_id>/utility`; it replaces one of the same time and register."""
    now = datetime.now(UTC)
    ts = from_epoch_ms(epoch_ms(body.ts)) if body.ts else now.replace(microsecond=0)
    if ts > now + MOST_AHEAD:
        problem = {"loc": ["body", "ts"], "msg": "should not be in the future"}
        return error_response(422, [{**problem, "type": "value_error"}])
    if refused := _refused(path.meter_id):
        return refused
    value = round(body.value, 3)
    entry = UtilityEntry(ts=ts, direction=body.direction, value=value)
    status = _publish(path.meter_id, entry)
    if isinstance(status, Response):
        return status
    reading = UtilityReading(path.meter_id, ts, value, entry.exported)
    found = _compared(path.meter_id, entry) or Comparison(reading)
    return _one(found, 201 if status == 200 else status)


@api.add(
    "DELETE",
    "/utility-readings/<meter_id>",
    summary="Remove a reading of the utility's meter",
    operation_id="remove_utility_reading",
    response=ComparedReading,
    responses={
        202: {"description": "Published, but not removed within 2 s.", "response": ComparedReading},
        404: {"description": "There is no such meter, or no such entry."},
        503: {"description": "The broker is unreachable; try again."},
    },
)
def remove(path: MeterPath, query: EntryQuery) -> Response:
    """Publish its removal on `meters/<meter_id>/utility`, and return what was removed."""
    if refused := _refused(path.meter_id):
        return refused
    entry = UtilityEntry(ts=query.ts, direction=query.direction, value=None)
    found = _compared(path.meter_id, entry)
    if found is None:
        return error_response(404, f"meter {path.meter_id}: no entry of this time and register")
    status = _publish(path.meter_id, entry)
    return status if isinstance(status, Response) else _one(found, status)


def _one(found: Comparison, status: int) -> Response:
    return json_response(orjson.dumps(found.to_dict()), status)


def _refused(meter_id: str) -> Response | None:
    """Return 404 for a meter without history."""
    if parts().history.query(lambda database: read_meter(database, meter_id), empty=None):
        return None
    return error_response(404, f"meter {meter_id!r} has no readings; see /meters/")


def _publish(meter_id: str, entry: UtilityEntry) -> int | Response:
    def is_done(database: peewee.Database) -> bool:
        found = value_at(database, meter_id, entry.ts, exported=entry.exported)
        return found == entry.value

    return publish(topics.utility(meter_id), entry.encode(), is_done)


def _compared(meter_id: str, entry: UtilityEntry) -> Comparison | None:
    """Return the entry of this time and register that the history has."""
    wanted = entry.exported, epoch_ms(entry.ts)
    found = parts().history.query(
        lambda database: comparisons(database, meter_id), empty=list[Comparison]()
    )
    keys = ((each.reading.exported, epoch_ms(each.reading.ts)) for each in found)
    return next((each for each, key in zip(found, keys, strict=True) if key == wanted), None)


def _encoded(found: Sequence[Comparison], form: Form) -> bytes:
    return encoded_rows(COLUMNS, [each.to_dict() for each in found], form)
