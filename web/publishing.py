"""Publishes what a person enters, and waits until the recorder has stored it."""

import time
from collections.abc import Callable

import gevent
import peewee
from flask import Response
from paho.mqtt.client import MQTTMessageInfo

from history.errors import StorageError
from web.context import parts
from web.responses import error_response

STORED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.02


def publish(
    topic: str,
    payload: str,
    is_there: Callable[[peewee.Database], bool],
    *,
    retain: bool = False,
) -> int | Response:
    """Publish a message; return 200 once the history has it, 202 where it does not have it in time.

    Return a response where the broker is away or has not confirmed the message.
    """
    broker = parts().subscriber
    if not broker.connected:
        text = f"broker {broker.address}: {broker.trouble}; nothing was published"
        return error_response(503, text)
    sent = broker.publish(topic, payload, qos=1, retain=retain)
    if _wait_until(is_there):
        return 200
    if confirmed(sent):
        return 202
    text = f"broker {broker.address}: no confirmation within {STORED_WITHIN_S:g} s; try again"
    return error_response(503, text)


def confirmed(sent: MQTTMessageInfo) -> bool:
    """Return whether the broker has confirmed a message."""
    try:
        return sent.is_published()
    except (RuntimeError, ValueError):  # it could not be queued
        return False


def _wait_until(is_there: Callable[[peewee.Database], bool]) -> bool:
    """Return whether the history has something; False where not in time."""
    deadline_s = time.monotonic() + STORED_WITHIN_S
    while time.monotonic() < deadline_s:
        try:
            if parts().history.query(is_there, empty=False):
                return True
        except StorageError:
            return False
        gevent.sleep(LOOK_EVERY_S)
    return False
