"""The publisher alone: what it publishes of many meters that change at once."""

import asyncio
from collections import Counter
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

from gateway_bridge.address import TcpAddress
from gateway_bridge.polling.poller import Line
from gateway_bridge.publishing.publisher import Publisher
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import Gateway, Meter
from service.mqtt import MqttClient
from tests.support.parts import free_port
from tests.support.polling import FAST_COST, MODEL, until

METERS = 20
BRIDGE_INFO = "meters/_bridge/gateway/info"


def line() -> Line:
    """Return a line that nothing polls."""
    meters = tuple(
        Meter(str(unit), unit, MODEL, "", 1.0, 60.0, ("power",)) for unit in range(1, METERS + 1)
    )
    address = TcpAddress("127.0.0.1", free_port())
    return Line(Gateway("g", address, "tcp", 1.0, FAST_COST, meters))


def published_by_changes(directory: Path) -> list[Counter[str]]:
    """Return how often each topic is published where all meters come, go, and have a new serial."""
    counts: list[Counter[str]] = []

    async def story() -> None:
        polled = line()
        settings = BridgeSettings(mqtt_port=free_port(), journal_file=directory / "journal.db")
        publisher = Publisher(settings, [polled])
        publisher._client._up.set()  # as if there were a broker
        with patch.object(MqttClient, "publish_own") as publish:
            for name, value in (("online", True), ("online", False), ("serial", "4711")):
                publish.reset_mock()
                for meter in polled.meters.values():
                    setattr(meter.state, name, value)
                    publisher.changed(meter)
                await until(lambda: BRIDGE_INFO in topics_of(publish.call_args_list))
                counts.append(Counter(topics_of(publish.call_args_list)))

    with chdir(directory):
        asyncio.run(story())
    return counts


def topics_of(calls: list[object]) -> list[str]:
    return [call.args[0] for call in calls]  # type: ignore[attr-defined]


def test_many_changes_are_one_info_of_the_bridge_and_discovery_is_published_when_it_changes(
    tmp_path: Path,
) -> None:
    came, went, renamed = published_by_changes(tmp_path)

    assert [each[BRIDGE_INFO] for each in (came, went, renamed)] == [1, 1, 1]
    assert [each["meters/7/status"] for each in (came, went, renamed)] == [1, 1, 1]
    discoveries = [each["homeassistant/device/meters/7/config"] for each in (came, went, renamed)]
    assert discoveries == [1, 0, 1]
