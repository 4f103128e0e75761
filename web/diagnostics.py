"""/meters/<id>/diagnostics: what a meter is, how it is read, and what is wrong with it.

From the info of the meter and of its bridge, which anything may publish: what does not have the
expected form is left out.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import orjson
import peewee
from flask import Response
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from contract import topics
from contract.meter_settings import MeterSettings
from contract.times import format_time
from history.meter_settings import Sources, read_sources
from history.rejected_messages import RejectedMessage, rejected_of
from web import meters
from web.context import parts
from web.openapi import Api
from web.parameters import MeterPath

api = Api("diagnostics", "meters", "Meters and their charts")

_Text = Annotated[str, Field(max_length=500)]
_Count = Annotated[int, Field(ge=0)]


class Block(TypedDict):
    """Registers that are read at once, and every how many seconds."""

    address: _Count
    count: _Count
    interval: Annotated[float, Field(gt=0)]


class Link(TypedDict):
    """What happened on the line since the bridge has started.

    `faults` are damaged or wrong responses, `held` implausible values that were not published.
    """

    readings: _Count
    timeouts: _Count
    faults: _Count
    held: _Count


class WiringSuspicion(TypedDict):
    """A probable mistake in the installation of a meter, and what to do."""

    text: _Text
    remedy: _Text


class WiringCheck(TypedDict):
    """What the last values say about the wiring; `idle` phases carry too little to check."""

    suspicions: Annotated[list[WiringSuspicion], Field(max_length=20)]
    idle: Annotated[list[_Text], Field(max_length=3)]


class MeterGateway(TypedDict):
    """The gateway through which a meter is read."""

    name: _Text | None
    address: _Text | None
    connected: bool | None
    framing: _Text | None
    trouble: _Text | None


class Rejected(TypedDict):
    """A message of the meter that could not be used: the beginning of its payload, and why."""

    ts: datetime
    topic: str
    reason: str
    detail: str
    payload: str


class SettingsBySource(TypedDict):
    """What a person has set, which takes precedence, and what the meter's info says."""

    person: MeterSettings
    info: MeterSettings


class MeterDiagnostics(TypedDict):
    """A meter: identity, link, plan, events, wiring and settings; null where it is not known."""

    meter_id: str
    manufacturer: _Text | None
    model: _Text | None
    serial: _Text | None
    wiring: _Text | None
    bridge: _Text | None
    unit_id: _Count | None
    gateway: MeterGateway | None
    interval: Annotated[float, Field(gt=0)] | None
    blocks: Annotated[list[Block], Field(max_length=200)] | None
    link: Link | None
    wiring_check: WiringCheck | None
    events: Annotated[list[_Text], Field(max_length=50, description="Oldest first.")]
    rejected: Annotated[list[Rejected], Field(description="Newest first, at most 20.")]
    settings: SettingsBySource


_FROM_INFO = {
    "manufacturer": _Text,
    "model": _Text,
    "serial": _Text,
    "wiring": _Text,
    "bridge": _Text,
    "unit_id": _Count,
    "interval": Annotated[float, Field(gt=0, allow_inf_nan=False)],
    "blocks": Annotated[list[Block], Field(max_length=200)],
    "link": Link,
    "wiring_check": WiringCheck,
}
_EVENTS = Annotated[list[_Text], Field(max_length=50)]


@api.add(
    "GET",
    "/meters/<meter_id>/diagnostics",
    summary="Identity, link, events and settings of a meter",
    operation_id="get_meter_diagnostics",
    response=MeterDiagnostics,
)
def of_meter(path: MeterPath) -> Response:
    """Return what a meter is, how it is read, and what is wrong with it.

    Plan, link and check of the wiring are those that a bridge publishes once a minute.
    """
    meter_id = path.meter_id
    live = _live(meter_id)

    def found(database: peewee.Database) -> tuple[bytes, bool]:
        sources = read_sources(database).get(meter_id)
        return _encoded(live, sources, rejected_of(database, meter_id)), False

    return meters.of_meter(meter_id, found, _encoded(live, None, []))


def _live(meter_id: str) -> dict[str, Any]:
    """Return what the newest infos say about a meter."""
    source = parts().latest.meters.get(meter_id)
    info = _object(source.value("info") if source else None)
    found = {name: _checked(kind, info.get(name)) for name, kind in _FROM_INFO.items()}
    return {
        "meter_id": meter_id,
        **found,
        "gateway": _gateway(found["bridge"], info.get("gateway")),
        "events": _checked(_EVENTS, info.get("events")) or [],
    }


def _gateway(bridge: str | None, name: object) -> dict[str, Any] | None:
    """Return what a bridge's info says about one of its gateways."""
    source = parts().latest.services.get(f"_{topics.BRIDGE}/{bridge}")
    listed = _object(source.value("info") if source else None).get("gateways")
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict) and name is not None and each.get("name") == name:
            kinds = MeterGateway.__annotations__
            return {field: _checked(kind, each.get(field)) for field, kind in kinds.items()}
    return None


def _encoded(
    live: Mapping[str, Any], sources: Sources | None, rejected: list[RejectedMessage]
) -> bytes:
    person, info = sources or (MeterSettings(), MeterSettings())
    settings = {"person": person.model_dump(mode="json"), "info": info.model_dump(mode="json")}
    serial = person.serial or info.serial or live["serial"]
    return orjson.dumps(
        {
            **live,
            "serial": serial,
            "rejected": [_rejected(message) for message in rejected],
            "settings": settings,
        }
    )


def _rejected(message: RejectedMessage) -> dict[str, str]:
    return {
        "ts": format_time(message.arrived),
        "topic": message.topic,
        "reason": message.reason,
        "detail": message.detail,
        "payload": message.payload,
    }


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _checked(kind: Any, value: object) -> Any:
    """Return a value of an info where it has the expected form, else None."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError:
        return None
