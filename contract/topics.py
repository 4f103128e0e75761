"""The MQTT topics: built, parsed and matched in this one place.

meters/<id>/reading      meters/<id>/<quantity>     meters/<id>/status     meters/<id>/info
meters/<id>/set          meters/<id>/utility         meters/<id>/peak
meters/_bridge/<name>/…  meters/_recorder/<name>/…  meters/_tariff/<name>/prices
homeassistant/device/meters/<id>/config
"""

import re
from functools import lru_cache
from typing import NamedTuple

ROOT = "meters"
METER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""The rule of all ids: of meters, and the names of bridges, recorders and groups."""
QUANTITY = re.compile(r"[a-z][a-z0-9_]{0,47}")
LONGEST = len(f"{ROOT}/_recorder/") + 32 + 1 + 48
RESERVED = frozenset({"reading", "status", "info", "set", "utility", "cmd", "peak"})

BRIDGE = "bridge"
RECORDER = "recorder"
TARIFF = "tariff"

_SERVICES = frozenset({f"_{BRIDGE}", f"_{RECORDER}", f"_{TARIFF}"})

ONLINE = "online"
OFFLINE = "offline"

ALL_READINGS = f"{ROOT}/+/reading"
ALL_STATUSES = f"{ROOT}/+/status"
ALL_INFOS = f"{ROOT}/+/info"
ALL_SETTINGS = f"{ROOT}/+/set"
ALL_UTILITY_READINGS = f"{ROOT}/+/utility"
ALL_LEAVES = f"{ROOT}/+/+"
BRIDGE_STATUSES = f"{ROOT}/_bridge/+/status"
BRIDGE_INFOS = f"{ROOT}/_bridge/+/info"
ALL_PRICES = f"{ROOT}/_tariff/+/prices"
REPLAY_ANSWERS = f"{ROOT}/_bridge/+/replayed"

ALL_DISCOVERIES = "homeassistant/device/meters/+/config"
HOME_ASSISTANT_STATUS = "homeassistant/status"


class MeterTopic(NamedTuple):
    """A topic `meters/<id>/<leaf>`."""

    meter_id: str
    leaf: str


class ServiceTopic(NamedTuple):
    """A topic `meters/_<service>/<name>/<leaf>`; `service` is `bridge`, `recorder` or `tariff`."""

    service: str
    name: str
    leaf: str


def parse(topic: str) -> MeterTopic | ServiceTopic | None:
    """Return the parts of a topic of a meter or service; None for any other topic."""
    return _parse(topic) if len(topic) <= LONGEST else None


@lru_cache(maxsize=10_000)
def _parse(topic: str) -> MeterTopic | ServiceTopic | None:
    root, *path, leaf = topic.split("/") if "/" in topic else ("", "")
    if root != ROOT or not QUANTITY.fullmatch(leaf):
        return None
    if not path or not METER_ID.fullmatch(path[-1]):
        return None
    if len(path) == 1:
        return MeterTopic(path[0], leaf)
    if len(path) == 2 and path[0] in _SERVICES:
        return ServiceTopic(path[0][1:], path[1], leaf)
    return None


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


def settings(meter_id: str) -> str:
    """Topic of a person's settings of a meter."""
    return f"{ROOT}/{meter_id}/set"


def utility(meter_id: str) -> str:
    """Topic of readings of the utility's meter that a person enters."""
    return f"{ROOT}/{meter_id}/utility"


def peak(meter_id: str) -> str:
    """Topic of a meter's running quarter-hour."""
    return f"{ROOT}/{meter_id}/peak"


def bridge(name: str, leaf: str) -> str:
    """Topic of a gateway bridge: its `status`, `info`, `replay` or `replayed`."""
    return f"{ROOT}/_{BRIDGE}/{name}/{leaf}"


def recorder(name: str, leaf: str) -> str:
    """Topic of a recorder: its `status` or `info`, or `again` for readings sent to it alone."""
    return f"{ROOT}/_{RECORDER}/{name}/{leaf}"


def prices(tariff: str) -> str:
    """Topic of the dynamic prices of a tariff."""
    return f"{ROOT}/_{TARIFF}/{tariff}/prices"


def discovery(object_id: str, node_id: str = "meters") -> str:
    """Topic of Home Assistant's device-based discovery."""
    return f"homeassistant/device/{node_id}/{object_id}/config"


def shared(group: str, topic_filter: str) -> str:
    """Filter of a shared subscription: each message goes to one client of the group."""
    return f"$share/{group}/{topic_filter}"


def filter_matches(pattern: str, topic: str) -> bool:
    """Return whether an MQTT topic filter covers a topic (MQTT 3.1.1, section 4.7)."""
    wanted, given = pattern.split("/"), topic.split("/")
    if given[0].startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for level, part in enumerate(wanted):
        if part == "#":
            return True
        if level >= len(given) or part not in {"+", given[level]}:
            return False
    return len(wanted) == len(given)
