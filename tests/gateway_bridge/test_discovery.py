"""Discovery: each meter and quantity as Home Assistant expects it."""

import json
from typing import Any

from contract.quantities import BY_NAME, DEFAULT_SET
from gateway_bridge.publishing.changes import RENEW_S
from gateway_bridge.publishing.discovery import (
    Announced,
    bridge_message,
    expires_after_s,
    meter_message,
)
from gateway_bridge.settings import Scalars


def announced(
    *names: str, serial: str | None = "21001026", scalars: Scalars = "all"
) -> tuple[str, dict[str, Any]]:
    intervals_s = dict.fromkeys(names, 10.0)
    meter = Announced(
        "cellar", "Cellar", "Eastron", "SDM630-Modbus V2", serial, intervals_s, scalars
    )
    topic, payload = meter_message(meter, "house")
    return topic, json.loads(payload)


def test_a_meter_is_one_device_behind_its_bridge() -> None:
    topic, message = announced("power")

    assert topic == "homeassistant/device/meters/cellar/config"
    assert message["device"] == {
        "identifiers": ["meters_cellar"],
        "name": "Cellar",
        "manufacturer": "Eastron",
        "model": "SDM630-Modbus V2",
        "via_device": "meters_bridge_house",
        "serial_number": "21001026",
    }
    assert message["origin"]["name"]


def test_a_meter_is_there_only_while_its_bridge_and_itself_are_online() -> None:
    _, message = announced("power")

    assert message["availability_mode"] == "all"
    assert [source["topic"] for source in message["availability"]] == [
        "meters/_bridge/house/status",
        "meters/cellar/status",
    ]


def test_a_quantity_is_described_by_the_catalogue() -> None:
    _, message = announced("power", "energy_import", "power_factor", "phase_angle")
    components = message["components"]

    assert components["power"] == {
        "platform": "sensor",
        "name": "Power",
        "unique_id": "meters_cellar_power",
        "state_topic": "meters/cellar/power",
        "state_class": "measurement",
        "suggested_display_precision": 0,
        "expire_after": 35,
        "device_class": "power",
        "unit_of_measurement": "W",
    }
    assert components["energy_import"]["state_class"] == "total_increasing"
    assert "unit_of_measurement" not in components["power_factor"]
    assert components["phase_angle"]["entity_category"] == "diagnostic"
    assert components["phase_angle"]["enabled_by_default"] is False
    assert "device_class" not in components["phase_angle"]


def test_imported_energy_is_announced_once_whichever_name_it_has() -> None:
    _, both = announced("energy", "energy_import")
    _, alone = announced("energy")

    assert set(both["components"]) == {"energy_import"}
    assert alone["components"]["energy"].get("enabled_by_default", True)


def test_every_quantity_can_be_announced_in_a_message_of_reasonable_size() -> None:
    _, message = announced(*BY_NAME)

    assert len(message["components"]) == len(BY_NAME) - 1
    assert len(json.dumps(message)) < 40_000
    assert len(json.dumps(announced(*DEFAULT_SET)[1])) < 16_000


def test_a_value_expires_after_three_missed_intervals_but_not_before_half_a_minute() -> None:
    assert expires_after_s(1) == 30
    assert expires_after_s(60) == 185


def test_the_bridge_is_a_device_with_its_connection_as_a_sensor() -> None:
    topic, payload = bridge_message("house")
    connection = json.loads(payload)["components"]["connection"]

    assert topic == "homeassistant/device/meters_bridge/house/config"
    assert connection["device_class"] == "connectivity"
    assert connection["state_topic"] == "meters/_bridge/house/status"
    assert (connection["payload_on"], connection["payload_off"]) == ("online", "offline")


def test_an_unchanged_value_does_not_expire_before_it_is_sent_again() -> None:
    _, message = announced("power", scalars="changed")

    assert message["components"]["power"]["state_topic"] == "meters/cellar/power"
    assert message["components"]["power"]["expire_after"] > 2 * RENEW_S + 10


def test_without_scalars_the_values_are_those_of_the_reading() -> None:
    _, message = announced("power", "energy_import", scalars="off")
    energy = message["components"]["energy_import"]

    assert energy["state_topic"] == "meters/cellar/reading"
    assert energy["value_template"] == "{{ value_json.energy_import | default('') }}"
    assert energy["expire_after"] == 35
