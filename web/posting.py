"""POST /readings/: publishes readings as a meter does, and answers what became of each."""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired

import gevent
import orjson
import peewee
from flask import Response
from msgspec.structs import replace
from paho.mqtt.client import MQTTMessageInfo
from pydantic import Field
from typing_extensions import TypedDict

from contract import topics
from contract.errors import PayloadError
from contract.readings import Reading, ReadingBody, reading_from_body
from contract.times import format_time
from history import queries
from history.errors import StorageError
from web.context import parts
from web.meters import latest_reading
from web.openapi import Api
from web.publishing import LOOK_EVERY_S, STORED_WITHIN_S, confirmed
from web.responses import error_response, invalid_reading, json_response
from web.schemas import ReadingRow

STORED_ALREADY, STORED, PUBLISHED, DIFFERENT, UNCONFIRMED = 200, 201, 202, 409, 503

api = Api("posting", "readings", "Readings of the meters")

Bodies = Annotated[list[ReadingBody], Field(min_length=1)]
Key = tuple[str, datetime]
"""A meter's id and a time: the history has one reading of it."""


class Outcome(TypedDict):
    """What became of one reading of a list: its own status, and the reading or the reason."""

    status: Literal[200, 201, 202, 409, 503]
    reading: NotRequired[ReadingRow]
    detail: NotRequired[str]


@dataclass(frozen=True, slots=True)
class _Result:
    status: int
    reading: Reading
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        more = {"detail": self.detail} if self.detail else {"reading": self.reading.to_dict()}
        return {"status": self.status, **more}


@api.add(
    "POST",
    "/readings/",
    summary="Publish readings, as a meter does",
    operation_id="post_readings",
    responses={
        200: {
            "description": "Stored before, exactly so; nothing was published.",
            "response": ReadingRow | list[Outcome],
        },
        201: {
            "description": "Stored; of a list: all, some now and the others before.",
            "response": ReadingRow | list[Outcome],
        },
        202: {
            "description": "Published, but not stored within 2 s; of a list: some of it.",
            "response": ReadingRow | list[Outcome],
        },
        207: {
            "description": "Of a list: some could not be stored; each has its own status.",
            "response": list[Outcome],
        },
        409: {"description": "Another reading of the meter has this time; nothing was published."},
        503: {"description": "The broker is unreachable; try again."},
    },
    examples={
        "a reading": {"meter_id": 1, "power": 1200.0, "energy": 1500.0},
        "a list": [
            {"meter_id": "esp1", "ts": "2026-11-22T19:20:30Z", "power": 17.5},
            {"meter_id": "esp1", "ts": "2026-11-22T19:20:40Z", "power": 18.0},
        ],
    },
)
def post_readings(
    body: ReadingBody | Annotated[list[ReadingBody], Field(min_length=1)],
) -> Response:
    """Publish a reading or a list of them; without `ts` each gets its time of arrival.

    A list with an invalid reading is refused as a whole.
    """
    readings = []
    given = body if isinstance(body, list) else [body]
    for number, each in enumerate(given):
        try:
            readings.append(_timed(reading_from_body(each, arrived=datetime.now(UTC))))
        except PayloadError as error:
            return invalid_reading(error, *([number] if given is body else []))
    stored = _stored(readings)
    if any(_key(reading) not in stored for reading in readings):
        broker = parts().subscriber
        if not broker.connected:
            text = f"broker {broker.address}: {broker.trouble}; nothing was published"
            return error_response(503, text)
    results = _results(readings, stored)
    return _response_to_list(results) if given is body else _response_to_one(results[0])


def _response_to_one(result: _Result) -> Response:
    if result.detail:
        return error_response(result.status, result.detail)
    return json_response(result.reading.encode(), result.status)


def _response_to_list(results: Sequence[_Result]) -> Response:
    """Return what became of each; the status is of the reading that is furthest from stored."""
    worst = max(result.status for result in results)
    body = orjson.dumps([result.to_dict() for result in results])
    return json_response(body, 207 if worst > PUBLISHED else worst)


def _results(readings: Sequence[Reading], before: Mapping[Key, Reading]) -> list[_Result]:
    """Publish the readings that were not stored before, and return what became of each."""
    new: dict[Key, Reading] = {}
    for reading in readings:
        if _key(reading) not in before:
            new.setdefault(_key(reading), reading)
    sent = _publish(new.values())
    stored = _wait_for_rows(new.values())
    published = {key: _published(new[key], stored.get(key), sent[key]) for key in new}
    results = []
    for reading in readings:
        key = _key(reading)
        is_first = new.get(key) is reading
        first = published.get(key)
        results.append(first if first and is_first else _repeated(reading, before.get(key), first))
    return results


def _published(reading: Reading, row: Reading | None, sent: MQTTMessageInfo) -> _Result:
    if row is not None and row.values == reading.values:
        return _Result(STORED, row)
    if row is not None:
        text = f"{_name(reading)}: another reading was stored first; send this one with its own ts"
        return _Result(DIFFERENT, reading, text)
    if confirmed(sent):
        return _Result(PUBLISHED, reading)
    text = (
        f"broker {parts().subscriber.address}: no confirmation within {STORED_WITHIN_S:g} s; "
        "send the reading again with the same ts, duplicates are ignored"
    )
    return _Result(UNCONFIRMED, reading, text)


def _repeated(reading: Reading, row: Reading | None, first: _Result | None) -> _Result:
    """Return what became of a reading whose time was taken: in the history, or in its list."""
    same = first.reading if first else row
    if same is None or same.values != reading.values:
        text = f"{_name(reading)}: there is another reading; this one was not published"
        return _Result(DIFFERENT, reading, text)
    return first if first and first.status != STORED else _Result(STORED_ALREADY, same)


def _name(reading: Reading) -> str:
    return f"meter {reading.meter_id} at {format_time(reading.ts)}"


def _key(reading: Reading) -> Key:
    return reading.meter_id, reading.ts


def _timed(reading: Reading) -> Reading:
    """Return a reading whose time is a millisecond of the table: its own, or a free one."""
    ts = reading.ts.replace(microsecond=reading.ts.microsecond // 1000 * 1000)
    if reading.stamped_on_arrival:
        ts = parts().arrivals.stamp(reading.meter_id, ts)
    return replace(reading, ts=ts)


def _publish(readings: Collection[Reading]) -> dict[Key, MQTTMessageInfo]:
    """Publish readings, and the scalars of those that are their meter's newest.

    A reading older than the meter's newest is for the history only: retained, it would replace the
    meter's latest.
    """
    newest: dict[str, datetime] = {}
    for meter_id in {reading.meter_id for reading in readings}:
        known = latest_reading(meter_id)
        own = max(reading.ts for reading in readings if reading.meter_id == meter_id)
        newest[meter_id] = max(known.ts, own) if known else own
    return {
        _key(reading): _publish_one(reading, is_newest=reading.ts == newest[reading.meter_id])
        for reading in sorted(readings, key=lambda reading: reading.ts)
    }


def _publish_one(reading: Reading, *, is_newest: bool) -> MQTTMessageInfo:
    broker = parts().subscriber
    topic = topics.reading(reading.meter_id)
    sent = broker.publish(topic, reading.encode(), qos=1, retain=is_newest)
    for quantity, value in reading.values.items() if is_newest else ():
        topic = topics.scalar(reading.meter_id, quantity)
        broker.publish(topic, json.dumps(value), qos=0, retain=True)
    return sent


def _stored(readings: Iterable[Reading]) -> dict[Key, Reading]:
    """Return what the history has at the times of these readings; nothing while it is down."""
    moments: dict[str, list[datetime]] = {}
    for reading in readings:
        moments.setdefault(reading.meter_id, []).append(reading.ts)

    def rows(database: peewee.Database) -> dict[Key, Reading]:
        found = (queries.at(database, meter_id, times) for meter_id, times in moments.items())
        return {_key(row): row for part in found for row in part.values()}

    try:
        return parts().history.query(rows, empty=dict[Key, Reading]())
    except StorageError:
        return {}


def _wait_for_rows(readings: Collection[Reading]) -> dict[Key, Reading]:
    """Return what is stored at the times of these readings, once all are or time is up."""
    deadline_s = time.monotonic() + STORED_WITHIN_S
    waiting, found = {_key(reading): reading for reading in readings}, dict[Key, Reading]()
    while waiting and time.monotonic() < deadline_s:
        gevent.sleep(LOOK_EVERY_S)
        found |= _stored(waiting.values())
        waiting = {key: reading for key, reading in waiting.items() if key not in found}
    return found
