"""/readings/: stored readings, newest first, and posting a reading by way of the broker."""

import json
import time
from datetime import UTC, datetime, timedelta

import gevent
import orjson
import peewee
from flask import Response
from msgspec.structs import replace
from paho.mqtt.client import MQTTMessageInfo
from pydantic import BaseModel, Field

from contract import topics
from contract.errors import PayloadError
from contract.readings import Reading, ReadingBody, reading_from_body
from history import queries
from history.errors import StorageError
from web.context import parts
from web.meters import latest_reading, of_meter
from web.openapi import Api
from web.parameters import MeterPath, Moment
from web.responses import error_response, invalid_reading, json_response

STORED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.02
FEW = 10
"""Readings that are read without a thread."""

api = Api("readings", "readings", "Readings of the meters")


class RangeQuery(BaseModel):
    """Period and number of readings to return."""

    since: Moment | None = Field(None, alias="from", description="Start of the period.")
    until: Moment | None = Field(None, alias="to", description="End of the period, not included.")
    limit: int = Field(100, ge=1, le=10_000, description="Largest number of readings.")


class ReadingsQuery(RangeQuery):
    """Meter, period and number of readings to return."""

    meter: str | None = Field(None, description="Id of the meter (default: all meters).")
    meter_id: str | None = Field(None, description="The same as meter.")


@api.add("GET", "/readings/", summary="Readings of all meters, newest first")
def list_readings(query: ReadingsQuery) -> Response:
    """Without a filter: the newest 100 readings. An unknown meter has no readings."""
    meter_id = query.meter or query.meter_id
    body, _ = parts().history.query(lambda db: _encoded(db, meter_id, query), empty=(b"[]", False))
    return json_response(body)


@api.add("GET", "/readings/<meter_id>", summary="Readings of one meter")
def list_of_meter(path: MeterPath, query: RangeQuery) -> Response:
    """Return 404 for an unknown meter."""
    return of_meter(
        path.meter_id,
        lambda db: _encoded(db, path.meter_id, query),
        b"[]",
        is_short=query.limit <= FEW,
    )


@api.add(
    "POST",
    "/readings/",
    summary="Publish a reading, as a meter does",
    responses={
        201: {"description": "Stored; the response is the stored reading."},
        202: {"description": "Published, but not stored within 2 s."},
        503: {"description": "The broker is unreachable; try again."},
    },
)
def post_reading(body: ReadingBody) -> Response:
    """Without `ts` the reading gets its time of arrival. A repeated `ts` changes nothing."""
    try:
        reading = _timed(reading_from_body(body, arrived=datetime.now(UTC)))
    except PayloadError as error:
        return invalid_reading(error)
    broker = parts().subscriber
    if not broker.connected:
        return error_response(
            503, f"broker {broker.address}: {broker.trouble}; the reading was not published"
        )
    sent = _publish(reading)
    stored = _wait_for_row(reading)
    if not stored and not _confirmed(sent):
        return error_response(
            503,
            f"broker {broker.address}: no confirmation within {STORED_WITHIN_S:g} s; "
            "send the reading again with the same ts, duplicates are ignored",
        )
    return json_response((stored or reading).encode(), 201 if stored else 202)


def _encoded(
    database: peewee.Database, meter_id: str | None, query: RangeQuery
) -> tuple[bytes, bool]:
    found = queries.readings(
        database, meter_id, since=query.since, until=query.until, limit=query.limit
    )
    return orjson.dumps([reading.to_dict() for reading in found]), bool(found)


def _timed(reading: Reading) -> Reading:
    """Return a reading whose time is a millisecond of the table: its own, or a free one."""
    ts = reading.ts.replace(microsecond=reading.ts.microsecond // 1000 * 1000)
    if reading.stamped_on_arrival:
        ts = parts().arrivals.stamp(reading.meter_id, ts)
    return replace(reading, ts=ts)


def _publish(reading: Reading) -> MQTTMessageInfo:
    """Publish a reading and its scalars.

    A reading older than the meter's newest is for the history only: retained, it would replace the
    meter's latest.
    """
    broker, newest = parts().subscriber, latest_reading(reading.meter_id)
    is_newest = newest is None or reading.ts >= newest.ts
    topic = topics.reading(reading.meter_id)
    sent = broker.publish(topic, reading.encode(), qos=1, retain=is_newest)
    for quantity, value in reading.values.items() if is_newest else ():
        topic = topics.scalar(reading.meter_id, quantity)
        broker.publish(topic, json.dumps(value), qos=0, retain=True)
    return sent


def _wait_for_row(reading: Reading) -> Reading | None:
    """Return the stored reading; None where it is not stored in time."""
    deadline_s = time.monotonic() + STORED_WITHIN_S
    ts = reading.ts

    def row(database: peewee.Database) -> list[Reading]:
        return queries.readings(
            database, reading.meter_id, since=ts, until=ts + timedelta(milliseconds=1), limit=1
        )

    while time.monotonic() < deadline_s:
        try:
            found = parts().history.query(row, empty=list[Reading]())
        except StorageError:
            return None
        if found:
            return found[0]
        gevent.sleep(LOOK_EVERY_S)
    return None


def _confirmed(sent: MQTTMessageInfo) -> bool:
    try:
        return sent.is_published()
    except (RuntimeError, ValueError):  # it could not be queued
        return False
