"""PATCH /meters/<meter_id>: role, parent, name, … of a meter, by way of the broker."""

import orjson
import peewee
from flask import Response
from pydantic import ConfigDict
from typing_extensions import TypedDict

from contract import topics
from contract.errors import PayloadError
from contract.meter_settings import Billing, MeterSettings, Role
from history.meter_settings import Sources, changed, read_sources
from web.context import parts
from web.openapi import Api
from web.parameters import MeterPath
from web.publishing import publish
from web.responses import error_response, invalid_reading, json_response


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
    meter_id = path.meter_id
    try:
        known = parts().history.query(read_sources, empty=dict[str, Sources]())
        after = changed(known, meter_id, body)
    except PayloadError as error:
        if error.reason == "unknown_meter":
            return error_response(404, f"meter {error.problems[0][1]}; see /meters/")
        return invalid_reading(error)

    def is_stored(database: peewee.Database) -> bool:
        return read_sources(database)[meter_id].person == after.person

    payload = body.model_dump_json(exclude_unset=True)
    status = publish(topics.settings(meter_id), payload, is_stored)
    if isinstance(status, Response):
        return status
    person, info = (settings.model_dump(mode="json") for settings in after)
    found = {name: info[name] if value is None else value for name, value in person.items()}
    return json_response(orjson.dumps({"meter_id": meter_id, **found}), status)
