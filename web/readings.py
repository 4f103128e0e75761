"""/readings/: what is stored, newest first, and posting a reading through the bus."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import gevent
import peewee
from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from paho.mqtt.client import MQTTMessageInfo
from pydantic import BaseModel, Field

from contract import topics
from contract.errors import PayloadError
from contract.readings import Reading, ReadingBody, reading_from_body
from history import queries
from history.errors import StorageError
from web.answers import json_answer, refusal, wrong_reading
from web.context import parts
from web.live import latest_reading
from web.meters import MeterPath, is_known, unknown_meter
from web.times import Moment

STORED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.02

blueprint = APIBlueprint(
    "readings", __name__, abp_tags=[Tag(name="readings", description="Readings of the meters")]
)


class RangeQuery(BaseModel):
    """Which readings of a meter are wanted."""

    since: Moment | None = Field(None, alias="from", description="From this time on.")
    until: Moment | None = Field(None, alias="to", description="Before this time.")
    limit: int = Field(100, ge=1, le=10_000, description="At most so many, newest first.")


class ReadingsQuery(RangeQuery):
    """Which readings are wanted."""

    meter: str | None = Field(None, description="Of this meter only.")
    meter_id: str | None = Field(None, description="The same as meter.")


@blueprint.get("/readings/", summary="Readings of all meters, newest first", strict_slashes=False)
def list_readings(query: ReadingsQuery) -> Response:
    """Without a filter: the newest 100. A meter that nobody knows has no readings."""
    return _listed(query.meter or query.meter_id, query)


@blueprint.get("/readings/<meter_id>", summary="Readings of one meter", strict_slashes=False)
def list_of_meter(path: MeterPath, query: RangeQuery) -> Response:
    """Answers 404 where nothing was ever heard of the meter."""
    if not is_known(path.meter_id):
        return unknown_meter(path.meter_id)
    return _listed(path.meter_id, query)


@blueprint.post(
    "/readings/",
    summary="Send a reading to the bus, as a meter would",
    strict_slashes=False,
    responses={
        201: {"description": "Stored; the answer is the reading as it is stored."},
        202: {"description": "The broker has it; it was not stored yet when this was answered."},
        503: {"description": "The broker is away; try again."},
    },
)
def post_reading(body: ReadingBody) -> Response:
    """Without a time it gets that of its arrival. The same time again changes nothing."""
    try:
        reading = _whole_ms(reading_from_body(body, arrived=datetime.now(UTC)))
    except PayloadError as error:
        return wrong_reading(error)
    bus = parts().bus
    if not bus.connected:
        return refusal(503, f"the MQTT broker at {bus.address}: {bus.trouble}; nothing was kept")
    sent = _publish(reading)
    stored = _wait_for_row(reading)
    if not stored and not _confirmed(sent):
        return refusal(
            503,
            f"the MQTT broker at {bus.address}: no confirmation within {STORED_WITHIN_S:g} s; "
            "sending the reading again with the same ts does no harm",
        )
    return json_answer((stored or reading).encode(), 201 if stored else 202)


@blueprint.before_request
def check_body() -> Response | None:
    """Refuse what is no JSON before its fields are looked at."""
    if request.method != "POST":
        return None
    if not request.is_json:
        return refusal(415, "send the reading as JSON, with Content-Type: application/json")
    try:
        json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        return refusal(400, f"the body is not JSON: {error}")
    return None


def _listed(meter_id: str | None, query: RangeQuery) -> Response:
    def encoded(database: peewee.Database) -> str:
        found = queries.readings(
            database, meter_id, since=query.since, until=query.until, limit=query.limit
        )
        return f"[{','.join(reading.encode() for reading in found)}]"

    return json_answer(parts().stored.ask(encoded, empty="[]"))


def _whole_ms(reading: Reading) -> Reading:
    """Cut the time to what the wire and the table hold, so that the row can be found."""
    ts = reading.ts
    return replace(reading, ts=ts.replace(microsecond=ts.microsecond // 1000 * 1000))


def _publish(reading: Reading) -> MQTTMessageInfo:
    """Publish a reading and its scalars.

    One that is older than the meter's newest goes to the history only: retained, it would stand
    as the meter's latest word.
    """
    bus, newest = parts().bus, _newest(reading.meter_id)
    is_newest = newest is None or reading.ts >= newest.ts
    sent = bus.publish(topics.reading(reading.meter_id), reading.encode(), qos=1, retain=is_newest)
    for quantity, value in reading.values.items() if is_newest else ():
        topic = topics.scalar(reading.meter_id, quantity)
        bus.publish(topic, json.dumps(value), qos=0, retain=True)
    return sent


def _newest(meter_id: str) -> Reading | None:
    try:
        return latest_reading(meter_id)
    except StorageError:
        return parts().latest.newest(meter_id)


def _wait_for_row(reading: Reading) -> Reading | None:
    """Return the reading as it is stored, None where the row does not come in time."""
    deadline_s = time.monotonic() + STORED_WITHIN_S
    ts = reading.ts

    def row(database: peewee.Database) -> list[Reading]:
        return queries.readings(
            database, reading.meter_id, since=ts, until=ts + timedelta(milliseconds=1), limit=1
        )

    while time.monotonic() < deadline_s:
        try:
            found = parts().stored.ask(row, empty=list[Reading]())
        except StorageError:
            return None
        if found:
            return found[0]
        gevent.sleep(LOOK_EVERY_S)
    return None


def _confirmed(sent: MQTTMessageInfo) -> bool:
    try:
        return sent.is_published()
    except (RuntimeError, ValueError):  # it could not even be queued
        return False
