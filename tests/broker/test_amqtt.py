"""The faults of amqtt that packets, session and server work around.

A test fails when amqtt is fixed; then the workaround can go.
"""

import asyncio
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from unittest import mock

import pytest
from amqtt.adapters import BufferReader
from amqtt.mqtt.packet import MQTTFixedHeader
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.publish import PublishPacket
from amqtt.session import OutgoingApplicationMessage, Session

from tests.support.parts import Part, free_port, listens, wait_until
from tests.support.plain_client import PlainClient

AS_SHIPPED = """
import asyncio, sys
from amqtt.broker import Broker

async def serve():
    await Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
    }).start()
    await asyncio.Event().wait()

asyncio.run(serve())
"""
CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00%c\x00\x03odd"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of amqtt's broker as it is shipped."""
    number = free_port()
    directory = tmp_path_factory.mktemp("amqtt")
    with Part(sys.executable, "-c", AS_SHIPPED, str(number), directory=directory):
        wait_until(lambda: listens(number), what="amqtt")
        yield number


def connected(port: int, keep_alive_s: int = 60) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(CONNECT % keep_alive_s)
    assert client.recv(4) == b"\x20\x02\x00\x00"
    return client


def test_the_workarounds_are_for_this_version() -> None:
    assert version("amqtt") == "0.12.1", "see below which are still needed, and note the version"


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x36\x06\x00\x01t\x00\x01x", id="QoS 3"),
        pytest.param(b"\x30\x05\x00\x03a/#", id="a message to a wildcard"),
        pytest.param(b"\x80\x06\x00\x01\x00\x01t\x00", id="a subscription without its flag"),
    ],
)
def test_amqtt_goes_on_after_a_malformed_packet(port: int, packet: bytes) -> None:
    with connected(port) as client:
        client.sendall(packet + b"\xc0\x00")

        answers = b""
        while not answers.endswith(b"\xd0\x00"):
            answers += client.recv(100) or pytest.fail("amqtt closed the connection")


def test_amqtt_awaits_each_part_of_a_packet() -> None:
    reader = BufferReader(b"\x30\x04\x00\x01tx")

    with mock.patch.object(reader, "read", wraps=reader.read) as read:
        header = asyncio.run(MQTTFixedHeader.from_stream(reader))
        assert header
        asyncio.run(PublishPacket.from_stream(reader, fixed_header=header))

    assert read.await_count >= 4, "for one packet; broker.packets awaits once for all that arrive"


def test_amqtt_does_not_close_a_silent_connection(port: int) -> None:
    with connected(port, keep_alive_s=1) as client:
        client.settimeout(2.5)

        with pytest.raises(TimeoutError):
            client.recv(1)


def test_amqtt_forgets_a_message_that_is_not_acknowledged_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = OutgoingApplicationMessage(7, "t", 1, b"x", False)

    async def deliver() -> dict[int, object]:
        session = Session()
        handler = BrokerProtocolHandler(mock.MagicMock(), session)
        handler._send_packet = mock.AsyncMock()  # type: ignore[method-assign]
        monkeypatch.setattr(asyncio, "wait_for", mock.AsyncMock(side_effect=TimeoutError))
        with pytest.raises(TimeoutError):
            await handler._handle_message_flow(message)
        return dict(session.inflight_out)

    assert 7 not in asyncio.run(deliver())


def test_amqtt_sends_a_client_retained_messages_that_it_did_not_ask_for(port: int) -> None:
    with PlainClient(port) as publisher, PlainClient(port) as other:
        publisher.publish("secret", "s", retain=True)
        other.subscribe("secret")
        with PlainClient(port, "returning", clean_session=False) as client:
            client.subscribe("mine")

        with PlainClient(port, "returning", clean_session=False) as client:
            wait_until(lambda: "s" in client.payloads)


def test_amqtt_lets_another_user_into_a_session(port: int) -> None:
    with (
        PlainClient(port, "mine", user=("esp1", "a"), clean_session=False),
        PlainClient(port, "mine", user=("esp2", "b"), clean_session=False) as other,
    ):
        assert not other.refusal
