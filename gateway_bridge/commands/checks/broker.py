"""Checks of the broker: the connection, the rights of the bridge, bridges that are running."""

import time
from collections.abc import Callable

from paho.mqtt.client import MQTTMessage

from contract import topics
from gateway_bridge.commands.checks.findings import Finding
from gateway_bridge.settings import BridgeSettings
from service.client_ids import client_id
from service.mqtt import MqttClient, Subscription

CONNECT_S = 3.0
LISTEN_S = 0.3
DELIVERY_S = 2.0
POLL_S = 0.05


def check_broker(settings: BridgeSettings) -> list[Finding]:
    """Connect to the broker with the bridge's settings, and find bridges that are online."""
    statuses: dict[str, bytes] = {}

    def on_message(message: MQTTMessage) -> None:
        statuses[message.topic.split("/")[2]] = bytes(message.payload)

    client = MqttClient(
        settings,
        client_id("meters-doctor"),
        subscriptions=(Subscription(topics.bridge("+", "status"), 1),),
        on_message=on_message,
    )
    initial = client.trouble
    client.start()
    try:
        _wait(CONNECT_S, lambda: client.connected or client.trouble != initial)
        if not client.connected:
            return [_not_connected(settings, client)]
        time.sleep(LISTEN_S)
        return _connected(settings, client, statuses)
    finally:
        client.stop()


def _not_connected(settings: BridgeSettings, client: MqttClient) -> Finding:
    return Finding(
        "broker",
        "fault",
        f"{settings.mqtt_host}:{settings.mqtt_port}: {client.trouble}",
        "check MQTT_HOST, MQTT_PORT, MQTT_USER and MQTT_PASSWORD, and that the broker is running",
    )


def _connected(
    settings: BridgeSettings, client: MqttClient, statuses: dict[str, bytes]
) -> list[Finding]:
    address = f"{settings.mqtt_host}:{settings.mqtt_port}"
    findings = [Finding("broker", "ok", f"the broker at {address} accepts the connection")]
    online = sorted(name for name, status in statuses.items() if status == topics.ONLINE.encode())
    if settings.bridge_name not in online and not _delivers(settings, client, statuses):
        findings.append(_not_delivered(settings))
    findings += [
        Finding(
            "broker",
            "warning",
            f"the bridge {name!r} is running",
            "stop it while you look for a fault on its line",
        )
        for name in online
    ]
    return findings


def _delivers(settings: BridgeSettings, client: MqttClient, statuses: dict[str, bytes]) -> bool:
    """Publish the true status of the bridge, and return whether the broker delivers it.

    An MQTT 3.1.1 broker acknowledges messages even if the client has no right to publish them.
    """
    statuses.pop(settings.bridge_name, None)
    client.publish(_status_topic(settings), topics.OFFLINE, qos=1, retain=False)
    return _wait(DELIVERY_S, lambda: settings.bridge_name in statuses)


def _not_delivered(settings: BridgeSettings) -> Finding:
    who = f"user {settings.mqtt_user!r}" if settings.mqtt_user else "clients without a user"
    return Finding(
        "broker",
        "fault",
        f"messages on {_status_topic(settings)} are acknowledged, but not delivered",
        f"allow {who} to write there in the broker's ACL; see docs/brokers.md, Users and rights",
    )


def _status_topic(settings: BridgeSettings) -> str:
    return topics.bridge(settings.bridge_name, "status")


def _wait(timeout_s: float, condition: Callable[[], bool]) -> bool:
    """Return True as soon as a condition holds, False if it does not before the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(POLL_S)
    return True
