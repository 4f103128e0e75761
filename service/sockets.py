"""What the MQTT client asks of its sockets, and what their errors mean."""

import contextlib
import socket
import ssl
from typing import Any

import paho.mqtt.client as paho


def without_delay(_client: paho.Client, _userdata: Any, connection: Any) -> None:
    """Send small packets at once: with Nagle's algorithm they wait for an acknowledgement."""
    with contextlib.suppress(OSError, AttributeError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def left_to_its_thread(_client: paho.Client, _userdata: Any, _connection: Any) -> None:
    """Keep `publish` from writing in the caller's thread.

    Without this paho does so beside its own thread, without a lock: where the socket takes
    only part of a packet, the two interleave and the broker drops the connection.
    """


def in_words(error: Exception) -> str:
    """Return why there is no connection, for a person."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; is the broker running?"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, socket.gaierror):
        return "no such host name"
    if isinstance(error, ssl.SSLError):
        return f"TLS does not come about ({error.reason or error})"
    return str(error)
