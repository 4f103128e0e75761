"""The MQTT topics: built, taken apart and filtered in this one place.

meters/<id>/reading      meters/<id>/<quantity>     meters/<id>/status     meters/<id>/info
meters/_bridge/<name>/…  meters/_recorder/<name>/…  homeassistant/device/meters/<id>/config
"""

import re
from functools import lru_cache
from typing import NamedTuple

ROOT = "meters"
METER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
QUANTITY = re.compile(r"[a-z][a-z0-9_]{0,47}")
LONGEST = len(ROOT) + 1 + 32 + 1 + 48
RESERVED = frozenset({"reading", "status", "info", "set", "cmd"})

ONLINE = "online"
OFFLINE = "offline"

ALL_READINGS = f"{ROOT}/+/reading"
ALL_LEAVES = f"{ROOT}/+/+"
BRIDGE_STATUSES = f"{ROOT}/_bridge/+/status"
REPLAY_ANSWERS = f"{ROOT}/_bridge/+/replayed"

HOME_ASSISTANT_STATUS = "homeassistant/status"


_BRIDGE_TOPIC = re.compile(rf"{ROOT}/_bridge/({METER_ID.pattern})/([a-z]+)")
_SERVICE_TOPIC = re.compile(rf"{ROOT}/_(bridge|recorder)/({METER_ID.pattern})/([a-z]+)")
_SENT_AGAIN = re.compile(rf"{ROOT}/_recorder/{METER_ID.pattern}/again")


class MeterTopic(NamedTuple):
    """A topic `meters/<id>/<leaf>` taken apart."""

    meter_id: str
    leaf: str


def parse(topic: str) -> MeterTopic | None:
    """Return meter id and leaf of a meter's topic, or None for any other topic."""
    return _parse(topic) if len(topic) <= LONGEST else None


@lru_cache(maxsize=10_000)
def _parse(topic: str) -> MeterTopic | None:
    parts = topic.split("/")
    if len(parts) != 3 or parts[0] != ROOT:
        return None
    if not METER_ID.fullmatch(parts[1]) or not QUANTITY.fullmatch(parts[2]):
        return None
    return MeterTopic(parts[1], parts[2])


class BridgeTopic(NamedTuple):
    """A topic `meters/_bridge/<name>/<leaf>` taken apart."""

    name: str
    leaf: str


def parse_bridge(topic: str) -> BridgeTopic | None:
    """Return name and leaf of a bridge's topic, or None for any other topic."""
    found = _BRIDGE_TOPIC.fullmatch(topic)
    return BridgeTopic(*found.groups()) if found else None


class ServiceTopic(NamedTuple):
    """A topic `meters/_<service>/<name>/<leaf>` taken apart; the service is bridge or recorder."""

    service: str
    name: str
    leaf: str


def parse_service(topic: str) -> ServiceTopic | None:
    """Return the parts of a bridge's or recorder's topic, or None for any other topic."""
    found = _SERVICE_TOPIC.fullmatch(topic)
    return ServiceTopic(*found.groups()) if found else None


def is_sent_again(topic: str) -> bool:
    """Tell whether a topic is one where a bridge sends readings again to one recorder."""
    return _SENT_AGAIN.fullmatch(topic) is not None


def reading(meter_id: str) -> str:
    """Topic of whole readings of a meter."""
    return f"{ROOT}/{meter_id}/reading"


def scalar(meter_id: str, quantity: str) -> str:
    """Topic of one quantity of a meter."""
    return f"{ROOT}/{meter_id}/{quantity}"


def status(meter_id: str) -> str:
    """Topic of a meter's `online` or `offline`."""
    return f"{ROOT}/{meter_id}/status"


def info(meter_id: str) -> str:
    """Topic of a meter's identity."""
    return f"{ROOT}/{meter_id}/info"


def bridge(name: str, leaf: str) -> str:
    """Topic of a gateway bridge: its `status`, `info`, `replay` or `replayed`."""
    return f"{ROOT}/_bridge/{name}/{leaf}"


def recorder(name: str, leaf: str) -> str:
    """Topic of a recorder: its `status` or `info`, or what is sent `again` to it alone."""
    return f"{ROOT}/_recorder/{name}/{leaf}"


def discovery(object_id: str, node_id: str = "meters") -> str:
    """Topic of Home Assistant's device-based discovery."""
    return f"homeassistant/device/{node_id}/{object_id}/config"


def shared(group: str, topic_filter: str) -> str:
    """Filter of a shared subscription: each message goes to one client of the group."""
    return f"$share/{group}/{topic_filter}"


def filter_matches(pattern: str, topic: str) -> bool:
    """Tell whether an MQTT topic filter covers a topic (MQTT 3.1.1, section 4.7)."""
    wanted, given = pattern.split("/"), topic.split("/")
    if given[0].startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for level, part in enumerate(wanted):
        if part == "#":
            return True
        if level >= len(given) or part not in {"+", given[level]}:
            return False
    return len(wanted) == len(given)
