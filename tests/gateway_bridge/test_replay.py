"""Journal and replay together: gaps in the history close again, however they arose."""

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessageInfo

from contract.readings import Reading
from contract.replay import ReplayRequest
from gateway_bridge.publishing import replay as replay_module
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.numbering import Numbering
from gateway_bridge.publishing.replay import Replay
from service.mqtt import MqttClient
from service.settings import Settings
from tests.support.bridged import Site, rows
from tests.support.parts import wait_until
from tests.support.plain_client import PlainClient
from tests.support.polling import until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of which only the simulator runs."""
    site = Site(tmp_path)
    with site.simulator():
        yield site


def test_what_a_bridge_had_read_before_it_was_killed_is_stored_when_all_are_there(
    site: Site,
) -> None:
    with site.bridge() as bridge:
        site.wait_for_readings()
        bridge.stop(signal.SIGKILL)
        before = site.kept()
    with site.bridge(), site.broker(), site.recorder():
        wait_until(lambda: before <= site.stored(), what="what the journal had")


def test_the_gap_that_a_killed_broker_left_is_closed(site: Site) -> None:
    with site.bridge(), site.recorder():
        with site.broker() as broker:
            wait_until(site.stored, what="a first row")
            broker.stop(signal.SIGKILL)
        site.wait_for_readings()
        with site.broker():
            site.wait_for_readings()
            before = site.kept()
            wait_until(lambda: before <= site.stored(), what="all rows")


def test_a_history_from_an_old_backup_fills_up_again(site: Site, tmp_path: Path) -> None:
    with site.broker(), site.bridge():
        with site.recorder():
            wait_until(lambda: len(site.stored()) > 4, what="first rows")
        shutil.copy(site.history, tmp_path / "backup.db")
        old = site.stored()
        with site.recorder():
            wait_until(lambda: len(site.stored() - old) > 20, what="more rows")
        shutil.copy(tmp_path / "backup.db", site.history)
        lost = wait_until(lambda: site.kept() - site.stored(), what="what the backup lacks")

        with site.recorder() as recorder:
            wait_until(lambda: lost <= site.stored(), what="the rows that the backup lacked")

        assert "no longer has" not in recorder.output


def asked(client: PlainClient, after: dict[str, int]) -> dict[str, Any]:
    """Request what follows these numbers from the bridge, and return its answer."""
    client.subscribe("meters/_bridge/gateway/replayed")
    request = {"recorder": "me", "request": "7", "after": after}
    client.publish("meters/_bridge/gateway/replay", json.dumps(request))
    answer = wait_until(
        lambda: [m.payload for m in list(client.messages) if m.topic.endswith("/replayed")]
    )
    return dict(json.loads(answer[0]))


def test_live_readings_come_between_replayed_ones(site: Site) -> None:
    with site.broker(), site.bridge() as bridge, PlainClient(site.mqtt) as client:
        client.subscribe("meters/1/reading")
        wait_until(lambda: len(client.messages) > 5)
        answer = asked(client, {"2": 2**52})

    assert bridge.output.count("replayed") == 1
    assert (answer["recorder"], answer["request"], answer["more"]) == ("me", "7", False)
    # What is read before the answer has a number above the one that the recorder knows.
    assert all(first > 2**52 for first, _ in answer["meters"]["2"]["sent"])
    [[first, last]] = answer["meters"]["1"]["sent"]
    seqs = [json.loads(m.payload)["seq"] for m in client.messages if m.topic == "meters/1/reading"]
    assert set(range(first, last + 1)) <= set(seqs)
    assert len(seqs) > len(set(seqs))


def answers_to(client: PlainClient, request: str) -> int:
    """Return how often the bridge has answered a request."""
    payloads = [m.payload for m in list(client.messages) if m.topic.endswith("/replayed")]
    return sum(json.loads(payload)["request"] == request for payload in payloads)


def test_a_number_that_would_use_up_all_numbers_is_not_believed(site: Site) -> None:
    with site.broker(), site.bridge(), PlainClient(site.mqtt) as client:
        client.subscribe("meters/1/reading")
        wait_until(lambda: client.messages)
        asked(client, {"1": 2**53 - 1, "2": 2**53})
        before = len(client.messages)
        wait_until(lambda: len(client.messages) > before + 2, what="readings")

    assert all(json.loads(payload).get("seq", 0) < 2**52 for payload in client.payloads)


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Replay]:
    """The replay of a bridge without a broker; its journal has the readings 1 to 9 of meter 1."""
    journal, numbering = Journal(tmp_path / "journal.db", 3600, 10**8, 30), Numbering()
    journal.start(numbering, ["1"])
    for number in range(1, 10):
        reading = Reading("1", datetime.now(UTC), {"power": 1.0}, number)
        journal.add(reading, reading.encode())
    yield Replay("gateway", ["1"], Broker(), numbering, journal)  # type: ignore[arg-type]
    journal.stop()


class Broker:
    """Takes every message at once."""

    connected = True

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any]] = []

    def publish(self, topic: str, payload: str, **_: object) -> MQTTMessageInfo:
        self.messages.append((topic.rpartition("/")[2], json.loads(payload)))
        info = MQTTMessageInfo(1)
        info._set_as_published()
        return info


def published(replay: Replay, *requests: ReplayRequest) -> list[tuple[str, Any]]:
    """Return what a bridge publishes for some requests."""

    async def story() -> None:
        for request in requests:
            replay.handle(request.encode().encode())
        task = asyncio.create_task(replay.run())
        await until(lambda: replay._requested._waiters)  # type: ignore[attr-defined]
        task.cancel()

    asyncio.run(story())
    return replay._client.messages  # type: ignore[attr-defined, no-any-return]


def test_what_a_recorder_has_is_not_sent_again(replay: Replay) -> None:
    have = {"1": [(4, 4), (6, 8)]}
    request = ReplayRequest(recorder="me", request="7", after={"1": 2}, have=have)

    *sent, (_, answer) = published(replay, request)

    assert [reading["seq"] for _, reading in sent] == [3, 5, 9]
    assert answer["meters"]["1"]["sent"] == [[3, 9]]


def test_what_is_read_while_a_bridge_answers_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the answer for the last of a thousand meters would have all of that time."""
    monkeypatch.setattr(replay_module, "IN_FLIGHT", 1)
    monkeypatch.setattr(replay_module, "PAUSE_S", 0.0)
    names = ["1", "2"]
    journal, numbering = Journal(tmp_path / "journal.db", 3600, 10**8, 30), Numbering()
    journal.start(numbering, names)
    numbering.update(dict.fromkeys(names, 0))

    def read() -> None:
        for name in names:
            numbering[name] += 1
            reading = Reading(name, datetime.now(UTC), {"power": 1.0}, numbering[name])
            journal.add(reading, reading.encode())

    class Reads(Broker):
        def publish(self, topic: str, payload: str, **_: object) -> MQTTMessageInfo:
            read()
            return super().publish(topic, payload)

    read()
    read()
    replay = Replay("gateway", names, Reads(), numbering, journal)  # type: ignore[arg-type]
    *sent, (_, answer) = published(replay, ReplayRequest(recorder="me", request="7"))
    journal.stop()

    numbers = [(reading["meter_id"], reading["seq"]) for _, reading in sent]
    assert numbers == [("1", 1), ("1", 2), ("2", 1), ("2", 2)]
    assert answer["meters"]["2"]["upto"] == 2


def test_a_flood_of_requests_is_answered_at_a_bounded_pace(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "ANSWER_PAUSE_S", 0.0)
    flood = [ReplayRequest(recorder=f"r{n}", request="7", after={"1": 9}) for n in range(500)]

    answers = published(replay, *flood)

    assert len(answers) == replay_module.MOST_RECORDERS


def test_a_request_that_comes_again_is_answered_once(replay: Replay) -> None:
    request = ReplayRequest(recorder="me", request="7", after={"1": 9})

    [(_, answer)] = published(replay, request, request, request)

    assert answer["request"] == "7"


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_a_retained_request_is_answered_once_also_after_a_restart(site: Site, kind: str) -> None:
    topic = "meters/_bridge/gateway/replay"
    with site.broker(BROKER=kind), PlainClient(site.mqtt) as client:
        client.subscribe("meters/_bridge/gateway/+")
        for later in ("8", "9"):
            with site.bridge():
                # published after the subscriptions
                wait_until(lambda: status_of(client) == "online", what="the bridge")
                if later == "8":
                    client.publish(topic, '{"recorder": "me", "request": "7"}', retain=True)
                client.publish(topic, json.dumps({"recorder": "you", "request": later}))
                wait_until(lambda later=later: answers_to(client, later), what="an answer")
            assert answers_to(client, "7") == 1
            wait_until(lambda: status_of(client) == "offline", what="the end of the bridge")


def status_of(client: PlainClient) -> str:
    """Return the last status of the bridge."""
    statuses = [m.payload for m in list(client.messages) if m.topic.endswith("/status")]
    return statuses[-1].decode() if statuses else ""


def test_many_meters_with_a_reading_each_are_replayed_as_fast_as_one_with_many(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "PAUSE_S", 0.5)
    names = [f"m{n}" for n in range(50)]
    journal, numbering = Journal(tmp_path / "journal.db", 3600, 10**8, 30), Numbering()
    journal.start(numbering, names)
    for name in names:
        reading = Reading(name, datetime.now(UTC), {"power": 1.0}, 1)
        journal.add(reading, reading.encode())
    request = ReplayRequest(recorder="me", request="7").encode().encode()

    async def answered(client: MqttClient) -> None:
        replay = Replay("gateway", names, client, numbering, journal)
        replay.handle(request)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(replay.run(), 4)  # a pause for each meter would take 25 s

    with site.broker(), PlainClient(site.mqtt) as subscriber:
        subscriber.subscribe("meters/#")
        client = MqttClient(Settings(mqtt_port=site.mqtt), "bridge")
        client.start()
        assert client.wait_connected(30)
        asyncio.run(answered(client))
        client.stop()
    journal.stop()

    topics = [message.topic for message in subscriber.messages]
    assert topics == [f"meters/{name}/reading" for name in names] + [
        "meters/_bridge/gateway/replayed"
    ]


def test_a_conversation_continues_after_the_answer_to_the_last_request_only(site: Site) -> None:
    with site.broker(), site.recorder(), PlainClient(site.mqtt) as bridge:
        bridge.subscribe("meters/_bridge/fake/replay")
        bridge.publish("meters/_bridge/fake/status", "online", retain=True)
        wait_until(lambda: bridge.payloads, what="a request")
        first = json.loads(bridge.payloads[0])
        bridge.publish("meters/_bridge/fake/status", "online", retain=True)
        second = json.loads(wait_until(lambda: bridge.payloads[1:], what="another request")[0])

        answer(bridge, first)
        answer(bridge, second)
        third = json.loads(wait_until(lambda: bridge.payloads[2:], what="the next slice")[0])
        answer(bridge, second)
        answer(bridge, first)
        for number in range(3):  # the recorder has been through its round
            bridge.publish("meters/x/reading", '{"power": 1}')
            wait_until(lambda number=number: len(site.stored()) > number, what="a row")
        assert len(bridge.payloads) == 3
        answer(bridge, third)

        wait_until(lambda: bridge.payloads[3:], what="the slice after that")


def answer(bridge: PlainClient, request: dict[str, Any]) -> None:
    """Answer a request as a bridge does that has sent a slice and has more."""
    answer = {"recorder": "main", "request": request["request"], "meters": {}, "more": True}
    bridge.publish("meters/_bridge/fake/replayed", json.dumps(answer))


def test_a_bridge_without_a_journal_answers_that_it_has_nothing(site: Site) -> None:
    with site.broker(), site.bridge(JOURNAL_HOURS=0), PlainClient(site.mqtt) as client:
        client.subscribe("meters/1/reading")
        wait_until(lambda: client.messages)
        answer = asked(client, {})["meters"]["1"]

    assert (answer["sent"], answer["oldest"]) == ([], None)
    assert answer["upto"] >= json.loads(client.payloads[0])["seq"]
    assert not site.journal.exists()


def test_an_invalid_request_is_logged_and_harmless(site: Site) -> None:
    with site.broker(), site.bridge() as bridge, PlainClient(site.mqtt) as client:
        client.subscribe("meters/1/reading")
        wait_until(lambda: client.messages)
        for payload in ("", "[]", '{"recorder": 7}', '{"after": {"#": 1}}', "9" * 100_000):
            client.publish("meters/_bridge/gateway/replay", payload)
        bridge.wait_for("invalid request ignored")
        before = len(client.messages)
        wait_until(lambda: len(client.messages) > before + 3, what="readings")


def test_a_meter_that_appears_later_is_known_by_its_bridge_too(tmp_path: Path) -> None:
    site = Site(tmp_path)

    def meters_of_bridges() -> set[str]:
        found = rows(site.history, "SELECT name FROM meters WHERE bridge IS NOT NULL")
        return {name for (name,) in found}

    with site.broker(), site.recorder(), site.bridge():
        with site.simulator("1"):
            wait_until(lambda: meters_of_bridges() == {"1"}, what="the bridge's first answer")
        with site.simulator("1,2"):
            wait_until(lambda: meters_of_bridges() == {"1", "2"}, 60, "the answer for meter 2")
