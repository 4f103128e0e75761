"""Home Assistant's device-based discovery, derived from the catalogue; does no I/O."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract import topics
from contract.quantities import BY_NAME, Quantity
from gateway_bridge.publishing.changes import RENEW_S
from gateway_bridge.settings import Scalars
from service import __version__

ORIGIN = {"name": "Meterflow", "sw_version": __version__}
BRIDGE_NODE = "meters_bridge"


@dataclass(frozen=True, slots=True)
class Announced:
    """A meter as announced to Home Assistant; `intervals_s` has the interval of each quantity."""

    meter_id: str
    name: str
    maker: str
    model: str
    serial: str | None
    intervals_s: Mapping[str, float]
    scalars: Scalars = "all"


def meter_message(meter: Announced, bridge: str) -> tuple[str, str]:
    """Return the topic and payload that announce a meter and its quantities."""
    device: dict[str, Any] = {
        "identifiers": [f"meters_{meter.meter_id}"],
        "name": meter.name,
        "manufacturer": meter.maker,
        "model": meter.model,
        "via_device": f"meters_bridge_{bridge}",
    }
    if meter.serial:
        device["serial_number"] = meter.serial
    message = {
        "device": device,
        "origin": ORIGIN,
        "availability": [
            {"topic": topics.bridge(bridge, "status")},
            {"topic": topics.status(meter.meter_id)},
        ],
        "availability_mode": "all",
        "components": {
            name: _sensor(meter, BY_NAME[name], interval_s, shown=shown)
            for name, interval_s, shown in _announced_quantities(meter.intervals_s)
        },
    }
    return topics.discovery(meter.meter_id), _encode(message)


def bridge_message(bridge: str) -> tuple[str, str]:
    """Return the topic and payload that announce the bridge and whether it is connected."""
    status = topics.bridge(bridge, "status")
    message = {
        "device": {
            "identifiers": [f"meters_bridge_{bridge}"],
            "name": f"Meterflow bridge {bridge}",
            "manufacturer": "Meterflow",
            "model": "Gateway bridge",
            "sw_version": __version__,
        },
        "origin": ORIGIN,
        "components": {
            "connection": {
                "platform": "binary_sensor",
                "name": "Connection",
                "unique_id": f"meters_bridge_{bridge}_connection",
                "state_topic": status,
                "device_class": "connectivity",
                "payload_on": topics.ONLINE,
                "payload_off": topics.OFFLINE,
                "entity_category": "diagnostic",
            },
            "started": {
                "platform": "sensor",
                "name": "Started",
                "unique_id": f"meters_bridge_{bridge}_started",
                "state_topic": topics.bridge(bridge, "info"),
                "value_template": "{{ value_json.started }}",
                "device_class": "timestamp",
                "entity_category": "diagnostic",
                "availability": [{"topic": status}],
            },
        },
    }
    return topics.discovery(bridge, BRIDGE_NODE), _encode(message)


def expires_after_s(interval_s: float) -> int:
    """Return the seconds without a value after which Home Assistant marks it unavailable."""
    return max(30, round(3 * interval_s + 5))


def _announced_quantities(
    intervals_s: Mapping[str, float],
) -> Sequence[tuple[str, float, bool]]:
    """Return name, interval and whether it is enabled at first; `energy` only without a twin."""
    twin = "energy_import" in intervals_s
    return [
        (name, interval_s, BY_NAME[name].shown or name == "energy")
        for name, interval_s in intervals_s.items()
        if not (twin and name == "energy")
    ]


def _source(meter: Announced, name: str, interval_s: float) -> dict[str, Any]:
    """Return where Home Assistant finds a value, and when it becomes unavailable."""
    if meter.scalars == "off":  # not every reading has the slow values; empty text changes nothing
        return {
            "state_topic": topics.reading(meter.meter_id),
            "value_template": f"{{{{ value_json.{name} | default('') }}}}",
            "expire_after": expires_after_s(interval_s),
        }
    longest_s = interval_s if meter.scalars == "all" else max(interval_s, RENEW_S)
    return {
        "state_topic": topics.scalar(meter.meter_id, name),
        "expire_after": expires_after_s(longest_s),
    }


def _sensor(
    meter: Announced, quantity: Quantity, interval_s: float, *, shown: bool
) -> dict[str, Any]:
    kind = quantity.kind
    sensor: dict[str, Any] = {
        "platform": "sensor",
        "name": quantity.label,
        "unique_id": f"meters_{meter.meter_id}_{quantity.name}",
        "state_class": kind.state_class,
        "suggested_display_precision": kind.decimals,
        **_source(meter, quantity.name, interval_s),
    }
    if kind.device_class:
        sensor["device_class"] = kind.device_class
    if kind.unit:
        sensor["unit_of_measurement"] = kind.unit
    if quantity.diagnostic:
        sensor["entity_category"] = "diagnostic"
    if not shown:
        sensor["enabled_by_default"] = False
    return sensor


def _encode(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
