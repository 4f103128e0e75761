"""The sending side of a WebSocket: whole frames for slow readers, and no wait for others."""

import random
import re
import socket
from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

import web.websockets
from tests.support.parts import wait_until
from web.websockets import MOST_WAITING, FrameSocket, text_frame


@pytest.fixture
def pair() -> Iterator[tuple[FrameSocket, socket.socket]]:
    """A sender, and the other end of its connection, which reads when the test does."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    sender = FrameSocket(gevent.socket.socket(fileno=ours.detach()))
    yield sender, theirs
    sender.close()
    theirs.close()


def texts(stream: bytes) -> list[str]:
    """Take a stream of text frames apart; fails where a frame does not begin as one."""
    found = []
    while stream:
        assert stream[0] == 0x81, f"no frame begins here: {stream[:20]!r}"
        length, head = stream[1], 2
        if length == 126:
            length, head = int.from_bytes(stream[2:4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(stream[2:10], "big"), 10
        found.append(stream[head : head + length].decode())
        stream = stream[head + length :]
    return found


def read_all(reader: socket.socket) -> bytes:
    reader.setblocking(False)
    stream = b""
    while True:
        try:
            more = reader.recv(1_000_000)
        except BlockingIOError:
            return stream
        if not more:
            return stream
        stream += more


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_text_frame_has_its_length_as_the_standard_requires(length: int) -> None:
    assert texts(text_frame("x" * length)) == ["x" * length]


def test_frame_is_sent_at_once_to_a_reader_that_keeps_up(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    sender, reader = pair

    sender.offer("a", text_frame("now"))

    assert texts(reader.recv(100)) == ["now"]


def test_reader_that_pauses_gets_whole_frames_from_all_writers(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    sender, reader = pair
    sizes = random.Random(7)
    blocking = gevent.spawn(
        lambda: [
            sender.send(text_frame(f"b{n}" + "b" * sizes.randrange(90_000))) for n in range(40)
        ]
    )

    stream = b""
    for n in range(200):
        sender.offer(f"key {n % 9}", text_frame(f"o{n}" + "o" * sizes.randrange(60_000)))
        gevent.sleep(0)
        if n % 10 == 0:
            stream += read_all(reader)
    while not blocking.ready() or sender._writer:
        stream += read_all(reader)
        gevent.sleep(0)
    found = texts(stream + read_all(reader))

    assert [text for text in found if text[0] == "b"][-1].startswith("b39")
    assert sum(text[0] == "b" for text in found) == 40
    assert any(text.startswith("o199") for text in found)
    assert all(re.fullmatch(r"b\d+b*|o\d+o*", text) for text in found)


def test_reader_that_does_not_read_costs_neither_time_nor_memory(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    sender, _ = pair

    with gevent.Timeout(30):
        for n in range(5000):
            sender.offer(f"topic {n}", text_frame("x" * 10_000))

    assert len(sender._waiting) == MOST_WAITING
    assert sender.dropped > 4000


def test_waiting_frame_is_replaced_by_a_newer_one_of_its_topic(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    sender, reader = pair
    sender.offer("block", text_frame("x" * 3_000_000))
    for n in range(100):
        sender.offer("power", text_frame(f"{n}"))

    stream = b""
    while sender._writer:
        stream += read_all(reader)
        gevent.sleep(0)

    assert [text for text in texts(stream + read_all(reader)) if len(text) < 9] == ["99"]


def test_reader_that_never_reads_is_disconnected(
    pair: tuple[FrameSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, reader = pair
    monkeypatch.setattr(web.websockets, "DEADLINE_S", 0.1)

    with pytest.raises(OSError, match="does not read"):
        sender.send(text_frame("x" * 5_000_000))

    assert not sender.alive
    while reader.recv(1_000_000):
        pass  # what was under way, and then the end


def test_frames_that_wait_for_a_reader_are_dropped_with_it(
    pair: tuple[FrameSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, _ = pair
    monkeypatch.setattr(web.websockets, "DEADLINE_S", 0.1)
    for n in range(30):
        sender.offer(f"{n}", text_frame("x" * 1_000_000))

    def let_go() -> bool:
        gevent.sleep(0.01)
        return not sender.alive

    wait_until(let_go, what="the sender to give up")
    assert not sender._waiting
