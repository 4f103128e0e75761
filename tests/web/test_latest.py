"""The latest messages: the newest reading of each meter, bounded, and never an older one."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from contract.readings import Reading
from web.latest import MOST_METERS, Latest, Message, Update
from web.relay import Delivery, MeterReader

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def received(
    topic: str, payload: str, *, after_s: float = 0, retained: bool = False
) -> Message | None:
    arrived = NOW + timedelta(seconds=after_s)
    return Message.of(topic, payload.encode(), retained=retained, arrived=arrived, now_s=after_s)


def message(topic: str, payload: str, *, after_s: float = 0, retained: bool = False) -> Message:
    found = received(topic, payload, after_s=after_s, retained=retained)
    assert found
    return found


def reading(ts: str, power: float = 1.0, **more: object) -> str:
    return json.dumps({"ts": ts, "meter_id": "1", "power": power, **more})


def topics_of(updates: list[Update]) -> list[str]:
    return [update.topic for update in updates]


def test_reading_is_an_update_in_the_form_of_the_contract() -> None:
    sent = reading("2026-11-22T13:00:00+01:00", 5, weather="rain")

    (update,) = Latest().handle(message("meters/1/reading", sent))

    assert json.loads(update.payload) == {
        "ts": "2026-11-22T12:00:00.000Z",
        "meter_id": "1",
        "power": 5.0,
    }


@pytest.mark.parametrize("ts", ["2026-11-22T11:59:00Z", "2026-11-22T12:00:00Z"])
def test_reading_that_is_not_newer_is_not_an_update(ts: str) -> None:
    latest = Latest()
    latest.handle(message("meters/1/reading", reading("2026-11-22T12:00:00Z", 5)))

    assert latest.handle(message("meters/1/reading", reading(ts, 9))) == []
    newest = latest.newest("1")
    assert newest
    assert newest.values == {"power": 5.0}


def test_reading_that_is_live_and_stored_is_sent_once() -> None:
    """The history keeps milliseconds, and devices may send microseconds."""
    frames = Frames()
    reader = MeterReader(frames, "1")  # type: ignore[arg-type]
    stored = Reading("1", NOW.replace(microsecond=123_000), {"power": 1.0})
    received_again = message("meters/1/reading", reading("2026-11-22T12:00:00.123456Z"))
    next_one = message("meters/1/reading", reading("2026-11-22T12:00:00.124Z", 2))
    latest = Latest()

    reader.send_first(stored)
    for each in (received_again, next_one):
        for update in latest.handle(each):
            reader.deliver(Delivery(update))

    assert [json.loads(text)["power"] for text in frames.texts] == [1, 2]


class Frames:
    """Stands in for a WebSocket, and keeps the text of each frame."""

    def __init__(self) -> None:
        self.sock = self
        self.texts: list[bytes] = []

    def append(self, frame: bytes) -> bool:
        self.texts.append(frame[2:])
        return True


def test_meter_whose_clock_was_ahead_is_live_again_once_it_is_right() -> None:
    latest = Latest()
    latest.handle(message("meters/1/reading", reading("2026-11-22T12:50:00Z")))

    assert latest.handle(message("meters/1/reading", reading("2026-11-22T12:00:01Z"), after_s=1))


def test_scalars_alone_become_a_reading_when_their_burst_ends() -> None:
    latest = Latest()
    latest.handle(message("meters/esp1/power", "123"))
    latest.handle(message("meters/esp1/voltage", "230.1", after_s=0.1))

    (update,) = latest.close_due(3.0, NOW + timedelta(seconds=3))

    assert update.topic == "meters/esp1/reading"
    assert json.loads(update.payload)["voltage"] == 230.1


def test_scalar_is_an_update_as_a_number() -> None:
    assert Latest().handle(message("meters/1/power", " 12.50 ")) == [
        Update("meters/1/power", "12.5")
    ]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("meters/1/power", "much"),
        ("meters/1/weather", "12"),
        ("meters/1/reading", "{"),
        ("meters/1/reading", "x" * 70_000),
        ("meters/1/status", "perhaps"),
        ("meters/1/info", "[1]"),
        ("meters/1/info", '{"interval": NaN}'),
        ("meters/1/info", "{" * 9000),
        ("meters/1/info", json.dumps({"name": "x" * 20_000})),
        ("meters/<b>/power", "1"),
        ("meters/1/2/3/power", "1"),
        ("meters/_bridge/a b/status", "online"),
    ],
)
def test_message_outside_the_contract_is_not_an_update(topic: str, payload: str) -> None:
    found = received(topic, payload)

    assert found is None or Latest().handle(found) == []


@pytest.mark.parametrize(
    ("messages", "online"),
    [
        ({}, None),
        ({"meters/1/status": "online"}, True),
        ({"meters/1/status": "offline"}, False),
        ({"meters/1/info": '{"bridge": "home"}', "meters/_bridge/home/status": "online"}, None),
        ({"meters/1/status": "online", "meters/1/info": '{"bridge": "home"}'}, True),
        (
            {
                "meters/1/status": "online",
                "meters/1/info": '{"bridge": "home"}',
                "meters/_bridge/home/status": "offline",
            },
            False,
        ),
    ],
    ids=["silent", "online", "offline", "only the bridge", "bridge silent", "bridge offline"],
)
def test_meter_is_online_when_it_and_its_bridge_report_so(
    messages: dict[str, str], online: bool | None
) -> None:
    latest = Latest()
    for topic, payload in messages.items():
        latest.handle(message(topic, payload, retained=True))

    assert latest.online("1") is online


def test_empty_retained_message_removes_a_status() -> None:
    latest = Latest()
    latest.handle(message("meters/1/status", "online"))

    latest.handle(message("meters/1/status", ""))

    assert latest.online("1") is None


def test_flood_of_meters_keeps_those_that_send() -> None:
    latest = Latest()
    for n in range(MOST_METERS + 500):
        latest.handle(message(f"meters/flood{n}/power", "1"))
        latest.handle(message("meters/1/power", "1"))

    assert len(latest.meters) == MOST_METERS
    assert "1" in latest.meters


def test_flood_of_meters_keeps_those_that_the_history_knows() -> None:
    latest = Latest()
    latest.keep({"1"}, set())
    latest.handle(message("meters/1/status", "offline"))
    for n in range(MOST_METERS + 500):
        latest.handle(message(f"meters/flood{n}/status", "online"))

    assert latest.online("1") is False
    assert len(latest.meters) == MOST_METERS


def test_flood_of_services_is_bounded() -> None:
    latest = Latest()
    for n in range(500):
        latest.handle(message(f"meters/_bridge/b{n}/status", "online"))
        latest.handle(message(f"meters/_bridge/c{n}/status", "neither"))

    assert sum(1 for _ in latest.known_topics()) == 100
    assert len(latest.services) == 100


def invent(latest: Latest, kind: str) -> None:
    for n in range(1000):
        latest.handle(message(f"meters/_{kind}/invented{n}/status", "online"))


def test_invented_bridges_do_not_crowd_out_the_bridge_of_a_meter_of_the_history() -> None:
    latest = Latest()
    latest.keep({"1"}, {"gateway"})
    latest.handle(message("meters/1/status", "online"))
    latest.handle(message("meters/1/info", '{"bridge":"gateway"}'))
    invent(latest, "bridge")
    latest.handle(message("meters/_bridge/gateway/status", "offline"))
    invent(latest, "bridge")

    assert latest.online("1") is False


@pytest.mark.parametrize("kind", ["bridge", "recorder"])
def test_invented_services_crowd_out_neither_a_recorder_nor_a_bridge_that_is_new(kind: str) -> None:
    latest = Latest()
    invent(latest, kind)
    for topic in ("meters/_recorder/main", "meters/_bridge/new"):
        latest.handle(message(f"{topic}/status", "offline"))
        latest.handle(message(f"{topic}/info", "{}"))
    invent(latest, kind)

    assert latest.services["_recorder/main"].value("status") == "offline"
    assert latest.services["_bridge/new"].value("status") == "offline"


def test_the_info_of_a_bridge_with_a_hundred_gateways_is_kept() -> None:
    latest = Latest()
    info = {"gateways": [{"name": f"g{n}", "address": "192.168.1.100"} for n in range(500)]}
    latest.handle(message("meters/_bridge/large/info", json.dumps(info)))

    assert latest.services["_bridge/large"].value("info") == info


def test_readings_of_the_last_minute_are_kept_in_order() -> None:
    latest = Latest()
    for second in (0, 30, 61):
        sent = reading(f"2026-11-22T12:0{second // 60}:{second % 60:02d}Z", second)
        latest.handle(message("meters/1/reading", sent, after_s=second))
    latest.handle(message("meters/2/power", "7", after_s=61))

    kept = [each.values["power"] for each in latest.recent("1", NOW)]

    assert kept == [30, 61]
    assert [*latest.recent("1", NOW + timedelta(seconds=62))] == []
