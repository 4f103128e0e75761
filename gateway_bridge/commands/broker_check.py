"""The broker: whether it lets us in, and whether a bridge speaks there already."""

import os
import time

from paho.mqtt.client import MQTTMessage

from contract import topics
from contract.mqtt import MqttClient, Subscription
from contract.settings import Settings
from gateway_bridge.commands.findings import Finding, Tell

CONNECT_S = 3.0
LISTEN_S = 0.3
POLL_S = 0.05


def check_broker(settings: Settings, tell: Tell) -> None:
    """Connect to the broker as the bridge would, and listen for bridges that are online."""
    online: set[str] = set()

    def heard(message: MQTTMessage) -> None:
        if message.payload == topics.ONLINE.encode():
            online.add(message.topic.split("/")[2])

    client = MqttClient(
        settings,
        f"meters-doctor-{os.getpid()}",
        subscriptions=(Subscription(topics.bridge("+", "status"), 1),),
        on_message=heard,
    )
    address = f"{settings.mqtt_host}:{settings.mqtt_port}"
    unknown = client.trouble
    client.start()
    deadline_s = time.monotonic() + CONNECT_S
    while not client.wait_connected(POLL_S) and time.monotonic() < deadline_s:
        if client.trouble != unknown:
            break
    if client.connected:
        time.sleep(LISTEN_S)
        tell(Finding("broker", "ok", f"the broker at {address} lets us in"))
    else:
        remedy = "check MQTT_HOST, MQTT_PORT, MQTT_USER and MQTT_PASSWORD; is the broker running?"
        tell(Finding("broker", "fault", f"{address}: {client.trouble}", remedy))
    client.stop()
    for name in sorted(online):
        text = f"the bridge {name!r} is running"
        tell(Finding("broker", "look", text, "stop it while you look for a fault on its line"))
