"""PATCH /meters/<meter_id>: role, parent, name, … of a meter, by way of the broker."""

import time

import gevent
import orjson
from flask import Response
from pydantic import ConfigDict
from typing_extensions import TypedDict

from contract import topics
from contract.errors import PayloadError
from contract.meter_settings import Billing, MeterSettings, Role
from history.errors import StorageError
from history.meter_settings import Sources, changed, read_sources
from web.context import parts
from web.openapi import Api
from web.parameters import MeterPath
from web.posting import confirmed
from web.responses import error_response, invalid_reading, json_response

STORED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.02


class MeterPatch(MeterSettings):
    """The settings to change; null clears one, and the meter's info decides again."""

    model_config = ConfigDict(extra="forbid")


class MeterWithSettings(TypedDict):
    """A meter, and the settings that it has now."""

    meter_id: str
    role: Role | None
    parent: str | None
    name: str | None
    billing: Billing | None
    serial: str | None


api = Api("meter_settings", "meters", "Meters and their charts")


@api.add(
    "PATCH",
    "/meters/<meter_id>",
    summary="Set role, parent, name, billing and serial number of a meter",
    operation_id="set_meter",
    response=MeterWithSettings,
    responses={
        202: {
            "description": "Published, but not stored within 2 s.",
            "response": MeterWithSettings,
        },
        503: {"description": "The broker is unreachable; try again."},
    },
)
def patch_meter(path: MeterPath, body: MeterPatch) -> Response:
    """Change the settings that the body has; null lets the meter's info decide again."""
    meter_id, broker = path.meter_id, parts().subscriber
    try:
        after = changed(_known(), meter_id, body)
    except PayloadError as error:
        if error.reason == "unknown_meter":
            return error_response(404, f"meter {error.problems[0][1]}; see /meters/")
        return invalid_reading(error)
    if not broker.connected:
        text = f"broker {broker.address}: {broker.trouble}; the settings were not published"
        return error_response(503, text)
    payload = body.model_dump_json(exclude_unset=True)
    sent = broker.publish(topics.settings(meter_id), payload, qos=1, retain=False)
    is_stored = _wait_until_stored(meter_id, after)
    if not is_stored and not confirmed(sent):
        text = f"broker {broker.address}: no confirmation within {STORED_WITHIN_S:g} s; try again"
        return error_response(503, text)
    person, info = (settings.model_dump(mode="json") for settings in after)
    found = {name: info[name] if value is None else value for name, value in person.items()}
    return json_response(orjson.dumps({"meter_id": meter_id, **found}), 200 if is_stored else 202)


def _known() -> dict[str, Sources]:
    return parts().history.query(read_sources, empty=dict[str, Sources]())


def _wait_until_stored(meter_id: str, after: Sources) -> bool:
    """Return whether the history has what a person has set; False where not in time."""
    deadline_s = time.monotonic() + STORED_WITHIN_S
    while time.monotonic() < deadline_s:
        try:
            if _known()[meter_id].person == after.person:
                return True
        except StorageError:
            return False
        gevent.sleep(LOOK_EVERY_S)
    return False
