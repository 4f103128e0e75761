"""What one writes in an evening: a persistent session, QoS 1, and a row for each message.

python plain_subscriber.py PORT FILE
"""

import json
import sqlite3
import sys

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

port, file = sys.argv[1:]
database = sqlite3.connect(file, timeout=10)
database.execute("CREATE TABLE IF NOT EXISTS readings (topic TEXT, power REAL)")


def subscribe(client: paho.Client, *_: object) -> None:
    """Subscribe after each connection."""
    client.subscribe("meters/+/reading", qos=1)


def store(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
    """Write a message; paho acknowledges it after that."""
    with database:
        row = (message.topic, json.loads(message.payload)["power"])
        database.execute("INSERT INTO readings VALUES (?, ?)", row)


client = paho.Client(CallbackAPIVersion.VERSION2, "plain", clean_session=False)
client.on_connect, client.on_message = subscribe, store
client.connect("127.0.0.1", int(port))
client.loop_forever()
