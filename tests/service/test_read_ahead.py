"""paho's client as Meterflow extends it: a message and its copies in one write, by paho's rules."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from service import mqtt as mqtt_module
from service.mqtt import MqttClient, Subscription, is_done
from service.settings import Settings
from tests.support.parts import Part, free_port, listens, require, wait_until

READING, COPIES = "meters/1/reading", [("meters/1/voltage", "230.1"), ("meters/1/power", "-12")]
CONNACK, PUBLISH, DUP = b"\x20\x02\x00\x00", 3, 8


class Socket:
    """A broker's end of a connection that reads whole packets, and answers only when asked to."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._stream = connection.makefile("rb")
        assert self.packet()[0] >> 4 == 1
        connection.sendall(CONNACK)

    def packet(self) -> tuple[int, bytes]:
        """Return first byte and content of the next packet."""
        head, length, shift = self._byte(), 0, 0
        while True:
            digit = self._byte()
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return head, self._stream.read(length)

    def message(self) -> tuple[int, str, int | None, bytes]:
        """Return flags, topic, id and payload of the next PUBLISH."""
        head, content = self.packet()
        assert head >> 4 == PUBLISH
        ends = 2 + int.from_bytes(content[:2], "big")
        topic = content[2:ends].decode()
        if not head & 0b110:
            return head & 15, topic, None, content[ends:]
        return (
            head & 15,
            topic,
            int.from_bytes(content[ends : ends + 2], "big"),
            content[ends + 2 :],
        )

    def acknowledge(self, mid: int | None) -> None:
        assert mid
        self.connection.sendall(b"\x40\x02" + mid.to_bytes(2, "big"))

    def silent(self) -> bool:
        """Return whether nothing arrives for a moment."""
        self.connection.settimeout(0.2)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.connection.settimeout(10)

    def _byte(self) -> int:
        read = self._stream.read(1)
        if not read:
            raise EOFError
        return read[0]


class Listener:
    """Accepts connections of one client."""

    def __init__(self, received_bytes: int = 0) -> None:
        self._socket = socket.socket()
        if received_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received_bytes)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self._socket.settimeout(10)
        self.port = self._socket.getsockname()[1]
        self._accepted: list[socket.socket] = []

    def accept(self) -> Socket:
        connection, _ = self._socket.accept()
        connection.settimeout(10)
        self._accepted.append(connection)
        return Socket(connection)

    def close(self) -> None:
        for each in (*self._accepted, self._socket):
            each.close()


@contextmanager
def started(port: int, **settings: object) -> Iterator[MqttClient]:
    client = MqttClient(Settings(mqtt_host="127.0.0.1", mqtt_port=port, **settings), "bridge")  # type: ignore[arg-type]
    client.start()
    yield client
    client.stop(flush_s=0.1)


@contextmanager
def listener(received_bytes: int = 0) -> Iterator[Listener]:
    one = Listener(received_bytes)
    yield one
    one.close()


@contextmanager
def subscriber(port: int, take: Callable[[paho.MQTTMessage], None]) -> Iterator[None]:
    client = MqttClient(
        Settings(mqtt_host="127.0.0.1", mqtt_port=port),
        "subscriber",
        subscriptions=(Subscription("meters/#", 1),),
        on_message=take,
    )
    subscribed = threading.Event()
    client._paho.on_subscribe = lambda *_: subscribed.set()
    client.start()
    assert subscribed.wait(30)
    yield
    client.stop()


@contextmanager
def mosquitto(port: int, directory: Path, *more: str) -> Iterator[None]:
    configuration = directory / "mosquitto.conf"
    lines = ("user root", f"listener {port} 127.0.0.1", "allow_anonymous true", *more)
    in_order = "max_inflight_messages 1000"  # beyond it QoS 0 overtakes QoS 1 on its way out
    configuration.write_text("\n".join((*lines, in_order)) + "\n")
    with Part(require("mosquitto"), "-c", str(configuration), directory=directory):
        wait_until(lambda: listens(port), what="mosquitto")
        yield


def test_a_broker_delivers_the_reading_first_then_its_copies_and_retains_all(
    tmp_path: Path,
) -> None:
    port, seen, later = free_port(), [], []
    with mosquitto(port, tmp_path), started(port) as client:
        with subscriber(port, lambda m: seen.append((m.topic, m.payload, m.qos, m.retain))):
            assert client.wait_connected(30)
            infos = [client.publish_with(READING, f'{{"n":{n}}}', COPIES) for n in range(500)]
            client.publish("meters/1/status", "offline", qos=1, retain=False)
            wait_until(lambda: seen and seen[-1][1] == b"offline")

        group = [(topic, text.encode(), 0, False) for topic, text in COPIES]
        expected = [
            each
            for n in range(500)
            for each in ((READING, f'{{"n":{n}}}'.encode(), 1, False), *group)
        ]
        assert seen[:-1] == expected
        wait_until(lambda: all(info.is_published() for info in infos))
        with subscriber(port, lambda m: later.append((m.topic, m.payload, m.retain))):
            wait_until(lambda: len(later) == 3)

    texts = [(topic, text.encode(), True) for topic, text in COPIES]
    assert sorted(later) == sorted([(READING, b'{"n":499}', True), *texts])


def test_a_reading_that_was_not_acknowledged_is_sent_again_after_a_reconnect() -> None:
    with listener() as broker, started(broker.port) as client:
        first = broker.accept()
        assert client.wait_connected(30)
        info = client.publish_with(READING, "{}", COPIES)
        flags, topic, mid, payload = first.message()
        assert (flags, topic, payload) == (0b0011, READING, b"{}")
        assert [first.message() for _ in COPIES] == [
            (0b0001, topic, None, text.encode()) for topic, text in COPIES
        ]
        assert not is_done(info)
        first.connection.shutdown(socket.SHUT_RDWR)

        second = broker.accept()

        assert second.message() == (0b0011 | DUP, READING, mid, b"{}")
        assert second.silent()  # copies are not sent again
        second.acknowledge(mid)
        wait_until(info.is_published)


def test_a_reading_that_meets_a_lost_connection_is_sent_on_the_next_one() -> None:
    with listener() as broker, started(broker.port) as client:
        first = broker.accept()
        assert client.wait_connected(30)
        first.connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not client.connected)
        client.publish_with(READING, "{}", COPIES)

        assert broker.accept().message()[1:] == (READING, 1, b"{}")


def test_a_reading_that_is_published_while_the_client_connects_does_not_precede_the_connect() -> (
    None
):
    with listener() as broker:
        client = MqttClient(Settings(mqtt_host="127.0.0.1", mqtt_port=broker.port), "bridge")
        client._paho.on_socket_open = lambda *_: client.publish_with(READING, "{}", COPIES)
        client.start()

        assert broker.accept().message()[1:] == (READING, 1, b"{}")
        client.stop(flush_s=0.1)


def test_no_more_readings_are_in_flight_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "MAX_IN_FLIGHT", 2)
    with listener() as broker, started(broker.port) as client:
        connection = broker.accept()
        assert client.wait_connected(30)
        infos = [client.publish_with(READING, str(n), ()) for n in range(4)]
        first, second = connection.message(), connection.message()
        assert connection.silent()

        connection.acknowledge(first[2])
        third = connection.message()

        assert (first[3], second[3], third[3]) == (b"0", b"1", b"2")
        assert connection.silent()
        connection.acknowledge(second[2])
        connection.acknowledge(third[2])
        connection.acknowledge(connection.message()[2])
        wait_until(lambda: all(info.is_published() for info in infos))


def test_messages_beyond_the_queue_are_reported_as_not_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt_module, "MAX_QUEUED", 2)
    with listener() as broker, started(broker.port) as client:
        connection = broker.accept()
        assert client.wait_connected(30)
        infos = [client.publish_with(READING, "{}", COPIES) for _ in range(3)]

        assert [info.rc for info in infos] == [0, 0, paho.MQTT_ERR_QUEUE_SIZE]
        assert is_done(infos[2])
        for _ in range(6):
            connection.message()
        assert connection.silent()


def test_packets_stay_whole_where_the_broker_reads_slowly() -> None:
    texts = [f"{n}:" + "x" * (n * 97 % 30_000) for n in range(300)]
    with listener(received_bytes=4096) as broker, started(broker.port) as client:
        connection = broker.accept()
        assert client.wait_connected(30)
        for text in texts:
            client.publish_with(READING, text, [*COPIES, ("meters/1/note", text[:200])])
            client.publish("meters/1/status", text[:7], qos=0, retain=False)
        time.sleep(0.3)  # the socket is full, and a packet half sent

        for text in texts:
            assert connection.message()[3] == text.encode()
            assert [connection.message()[1] for _ in COPIES] == [topic for topic, _ in COPIES]
            assert connection.message() == (1, "meters/1/note", None, text[:200].encode())
            assert connection.message() == (0, "meters/1/status", None, text[:7].encode())


def test_acknowledgements_that_arrive_in_pieces_are_understood() -> None:
    with listener() as broker, started(broker.port) as client:
        connection = broker.accept()
        assert client.wait_connected(30)
        infos = [client.publish_with(READING, "{}", ()) for _ in range(3)]
        acks = b"".join(b"\x40\x02" + info.mid.to_bytes(2, "big") for info in infos)
        connection.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in ((0, 5), (5, 6), (6, 11), (11, 12)):
            connection.connection.sendall(acks[begin:end])
            time.sleep(0.05)

        wait_until(lambda: all(info.is_published() for info in infos))
        assert client.connected


def test_threads_that_publish_at_once_do_not_mix_their_packets() -> None:
    with listener() as broker, started(broker.port) as client:
        connection = broker.accept()
        assert client.wait_connected(30)

        def publish(name: str) -> None:
            for n in range(200):
                client.publish_with(f"t/{name}", str(n), [(f"t/{name}/copy", str(n))])

        threads = [threading.Thread(target=publish, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        seen = [connection.message() for _ in range(1200)]
        for thread in threads:
            thread.join()

    for one, other in zip(seen[::2], seen[1::2], strict=True):
        assert (other[1], other[3]) == (f"{one[1]}/copy", one[3])
    assert len({mid for _, _, mid, _ in seen[::2]}) == 600


def test_the_same_over_tls(tmp_path: Path) -> None:
    port, plain, seen = free_port(), free_port(), []
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.check_call(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)),
            *("-out", str(certificate)),
        ),
        stderr=subprocess.DEVNULL,
    )
    encrypted = (f"listener {port} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}")
    texts = [f"{n}:" + "x" * (n * 997 % 50_000) for n in range(200)]
    with (
        mosquitto(plain, tmp_path, *encrypted),
        started(port, mqtt_tls=True, mqtt_ca_file=certificate) as client,
        subscriber(plain, lambda message: seen.append((message.topic, message.payload))),
    ):
        assert client.wait_connected(30)
        infos = [client.publish_with(READING, text, COPIES) for text in texts]
        wait_until(lambda: all(info.is_published() for info in infos))
        wait_until(lambda: len(seen) >= 3 * len(texts))

    group = [(topic, text.encode()) for topic, text in COPIES]
    assert seen == [each for text in texts for each in ((READING, text.encode()), *group)]
