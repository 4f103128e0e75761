"""/meters/<id>/diagnostics: what infos and the history say about a meter, and nothing malformed."""

import json
from collections.abc import Callable
from typing import Any

import peewee
import pytest
from flask.testing import FlaskClient

from contract.meter_settings import MeterSettings
from history.meter_settings import change, store_infos
from history.readings_table import Rejected, Writer
from tests.web.test_meters import reading, receive

Store = Callable[..., None]
GATEWAYS = [
    {"name": "line 1", "address": "192.168.1.100", "connected": True, "framing": "tcp"},
    {"name": "line 2", "address": "192.168.1.101", "connected": False, "trouble": "silent"},
]
INFO: dict[str, Any] = {
    "manufacturer": "Eastron", "model": "SDM630", "serial": "2100", "wiring": "3p4w",
    "bridge": "cellar", "gateway": "line 2", "unit_id": 7, "interval": 1.0,
    "blocks": [{"address": 0, "count": 76, "interval": 1.0}],
    "link": {"readings": 9, "timeouts": 1, "faults": 0, "held": 2},
    "wiring_check": {"suspicions": [{"text": "L2 is reversed", "remedy": "turn it"}], "idle": []},
    "events": ["held back: energy"],
}  # fmt: skip


def test_what_the_infos_say_is_returned(client: FlaskClient, store: Store) -> None:
    store(reading("1"))
    receive(
        client,
        _bridge__cellar__info=json.dumps({"gateways": GATEWAYS}),
        **{"1__info": json.dumps(INFO)},
    )

    found = client.get("/meters/1/diagnostics").json

    assert {name: found[name] for name in INFO if name != "gateway"} == {
        name: value for name, value in INFO.items() if name != "gateway"
    }
    assert found["gateway"] == {**GATEWAYS[1], "framing": None}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("serial", ["x"], None),
        ("serial", "x" * 501, None),
        ("unit_id", -1, None),
        ("unit_id", "<b>", None),
        ("interval", 0, None),
        ("blocks", [{"address": 0}], None),
        ("blocks", [{"address": 0, "count": 1, "interval": 1}] * 201, None),
        ("link", {"readings": -1, "timeouts": 0, "faults": 0, "held": 0}, None),
        ("wiring_check", {"suspicions": ["x"], "idle": []}, None),
        ("events", "none", []),
        ("events", [1], []),
        ("gateway", {"name": "line 2"}, None),
    ],
)
def test_what_has_another_form_is_left_out(
    client: FlaskClient, name: str, value: object, expected: object
) -> None:
    receive(
        client,
        _bridge__cellar__info=json.dumps({"gateways": GATEWAYS}),
        **{"1__info": json.dumps(INFO | {name: value})},
    )

    found = client.get("/meters/1/diagnostics")

    assert found.status_code == 200
    assert found.json[name] == expected
    assert found.json["model"] == "SDM630"


@pytest.mark.parametrize("info", ["[1]", '{"gateways": 5}', '{"gateways": [7, null]}', "null"])
def test_an_odd_info_of_a_bridge_is_no_gateway(client: FlaskClient, info: str) -> None:
    receive(client, _bridge__cellar__info=info, **{"1__info": json.dumps(INFO)})

    assert client.get("/meters/1/diagnostics").json["gateway"] is None


def test_only_messages_of_the_meter_itself_are_its_rejected_ones(
    client: FlaskClient, store: Store, database: peewee.Database
) -> None:
    store(reading("esp_1"))
    topics = ["meters/esp_1/reading", "meters/esp11/reading", "meters/esp_1/power"]
    rejected = [Rejected(topic, b"\xff{", "bad_json", f"no JSON on {topic}") for topic in topics]
    Writer(database).write([], rejected)

    found = client.get("/meters/esp_1/diagnostics").json["rejected"]

    assert [each["topic"] for each in found] == [topics[2], topics[0]]
    assert found[0]["detail"] == "no JSON on meters/esp_1/power"
    assert found[0]["payload"] == "\\xff{"


def test_settings_say_who_has_set_them(
    client: FlaskClient, store: Store, database: peewee.Database
) -> None:
    store(reading("1"))
    store_infos(database, {"1": MeterSettings.model_validate({"name": "Cellar", "serial": "7"})})
    change(database, "1", MeterSettings.model_validate({"name": "Main", "role": "grid"}))

    found = client.get("/meters/1/diagnostics").json

    assert (found["settings"]["person"]["name"], found["settings"]["info"]["name"]) == (
        "Main",
        "Cellar",
    )
    assert found["settings"]["person"]["role"] == "grid"
    assert found["serial"] == "7"


def test_an_unknown_meter_is_not_found(client: FlaskClient, store: Store) -> None:
    store(reading("1"))

    assert client.get("/meters/2/diagnostics").status_code == 404
