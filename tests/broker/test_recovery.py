"""A damaged file of Mosquitto's: `python -m broker` renames it, logs that, and starts."""

import random
from pathlib import Path

import pytest

from broker.recovery import fault_of_mosquitto_file
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file that Mosquitto writes for fifty retained messages."""
    require("mosquitto")
    directory, port = tmp_path_factory.mktemp("broker"), free_port()
    with start(directory, port), PlainClient(port) as client:
        for number in range(50):
            client.publish(f"meters/{number}/power", "7", retain=True)
    return (directory / "state" / f"mosquitto-{port}.db").read_bytes()


def start(directory: Path, port: int) -> Part:
    part = Part.module("broker", directory=directory, MQTT_PORT=port, BROKER="mosquitto")
    wait_until(lambda: listens(port) or part.process.poll() is not None, what="mosquitto")
    return part


NOISE = random.Random(1).randbytes(4000)
DAMAGED = {
    "noise": lambda _: NOISE,
    "zeros": lambda _: bytes(4000),
    "a few bytes": lambda sound: sound[:3],
    "a piece": lambda sound: sound[: len(sound) // 2 + 1],
    "the end missing": lambda sound: sound[:-5],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_mosquitto_starts_with_an_empty_file_where_its_own_is_damaged(
    damage: str, sound: bytes, tmp_path: Path
) -> None:
    port = free_port()
    file = tmp_path / "state" / f"mosquitto-{port}.db"
    file.parent.mkdir()
    file.write_bytes(DAMAGED[damage](sound))

    with start(tmp_path, port) as part:
        assert listens(port), part.output
        with PlainClient(port):  # before it answers, Mosquitto misses a request to end
            pass

        relative = file.relative_to(tmp_path)
        assert f"starting with an empty file, the old one is now {relative}.damaged" in part.output


def test_a_sound_file_is_left_alone(sound: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mosquitto.db"
    assert fault_of_mosquitto_file(file) is None
    for content in (b"", sound):
        file.write_bytes(content)

        assert fault_of_mosquitto_file(file) is None


def test_a_file_truncated_within_a_chunk_counts_as_damaged(sound: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mosquitto.db"
    ends = [end for end in range(1, len(sound)) if not _is_damaged(file, sound[:end])]

    assert len(ends) < 120, "more than the ends of the chunks"


def _is_damaged(file: Path, content: bytes) -> bool:
    file.write_bytes(content)
    return fault_of_mosquitto_file(file) is not None
