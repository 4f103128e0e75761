"""What the same blows cost Meterflow, a plain subscriber, and Home Assistant's recorder.

    python benchmarks/losses.py [--times 5] [--home-assistant /path/to/hass]

Fifty readings a second of 20 meters, and a blow about every two and a half seconds. Meterflow is
the whole: simulated meters, bridge, Mosquitto, recorder, SQLite. The others get the readings from
a device that publishes with QoS 1, keeps what the broker has not acknowledged, and never dies.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.blows.peers import Device, HomeAssistant, MeterflowRecorder, Peer, PlainSubscriber
from benchmarks.figures import Verdict, line, title
from tests.support.blows import FILL, FREEZE, KILL, ROB, SET_BACK, Striker
from tests.support.clocks import can_fake
from tests.support.parts import wait_until
from tests.support.pipeline import Pipeline
from tests.system.chaos import Chaos

BLOWS = (
    (KILL, ("recorder",)),
    (KILL, ("broker",)),
    (KILL, ("broker", "recorder")),
    (ROB, ("broker",)),
    (FREEZE, ("recorder",)),
    (FREEZE, ("broker",)),
    (FILL, ("recorder",)),
    (SET_BACK, ("recorder",)),
)
SEED = 1
STARTS_S, SETTLES_S = 60, 15


class Cost(NamedTuple):
    """What blows of one kind have cost."""

    readings: int
    lost: int
    twice: int
    wrong: int
    restarts: int = 0
    """How often a program stored nothing more until it was started again."""

    def __str__(self) -> str:
        return f"{self.lost} / {self.twice} / {self.wrong}"

    @property
    def beside(self) -> str:
        """Words that go with it."""
        restarts = f", restarted {self.restarts} times" if self.restarts else ""
        return f"of {self.readings} readings{restarts}"


def of_meterflow(kind: str, parts: tuple[str, ...], times: int) -> Cost:
    """Strike the whole pipeline, and compare as `make chaos` does."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Pipeline(Path(directory), "mosquitto") as pipeline,
    ):
        chaos = Chaos(pipeline, "Meterflow", SEED)
        chaos.begin()
        for _ in range(times):
            chaos.striker.strike(kind, *parts)
        outcome = chaos.compare()
    if not outcome.good:
        sys.stdout.write(f"{outcome}\n")
    found = [fault.kind for fault in outcome.faults]
    lost, twice = found.count("lost") + outcome.died_with_two, found.count("twice")
    return Cost(outcome.expected, lost, twice, len(found) - found.count("lost") - twice)


def of_peer(start: Callable[[Path], Peer], kind: str, parts: tuple[str, ...], times: int) -> Cost:
    """Strike another program; each blow begins when readings are stored again."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        start(Path(directory)) as peer,
    ):
        device = Device(peer.port)
        device.start()
        go_on(peer, device)
        first, restarts = device.published + 1, 0
        striker = Striker(peer, SEED)
        for _ in range(times):
            striker.strike(kind, *parts)
            restarts += go_on(peer, device)
        device.end()
        settle(peer)
        stored = peer.stored()
    wanted = range(first, device.published + 1)
    lost = sum(number not in stored for number in wanted)
    twice = sum(count - 1 for count in stored.values())
    wrong = sum(not 0 < number <= device.published for number in stored)
    return Cost(len(wanted), lost, twice, wrong, restarts)


def go_on(peer: Peer, device: Device) -> bool:
    """Wait until a reading that is published from now on is stored.

    A program that stores nothing for a minute is started again; return whether it was.
    """
    now = device.published

    def newer() -> bool:
        peer.start("recorder")
        return max(peer.stored(), default=0) > now

    try:
        wait_until(newer, STARTS_S, each_s=0.5)
    except AssertionError:
        peer.kill("recorder")
        wait_until(newer, STARTS_S, "a new reading in the history", each_s=0.5)
        return True
    return False


def settle(peer: Peer) -> None:
    """Wait until nothing has been stored for a while."""
    seen, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < SETTLES_S:
        if (stored := peer.stored().total()) != seen:
            seen, since_s = stored, time.monotonic()
        time.sleep(0.5)


def main() -> None:
    """Strike everybody with every blow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="blows of each kind (the clock: 1)")
    parser.add_argument("--home-assistant", type=Path, help="its program, hass")
    options = parser.parse_args()
    peers: dict[str, Callable[[Path], Peer]] = {
        "Meterflow without a journal": MeterflowRecorder,
        "plain subscriber": PlainSubscriber,
    }
    if hass := options.home_assistant:
        peers["Home Assistant"] = lambda place: HomeAssistant(place, hass)
    verdict = Verdict()
    for kind, parts in BLOWS:
        if kind == SET_BACK and not can_fake():
            continue
        times = 1 if kind == SET_BACK else options.times
        title(f"{times} x {kind}: {', '.join(parts)} (lost / twice / wrong)")
        with ThreadPoolExecutor() as all_at_once:
            costs = {
                name: all_at_once.submit(of_peer, peer, kind, parts, times)
                for name, peer in peers.items()
            }
            cost = all_at_once.submit(of_meterflow, kind, parts, times).result()
        good = not (cost.lost or cost.twice or cost.wrong)
        verdict.figure("Meterflow", str(cost), cost.beside, "0 / 0 / 0", ok=good)
        for name, theirs in costs.items():
            line(name, str(theirs.result()), theirs.result().beside)
    sys.stdout.write("\n")
    verdict.end()


if __name__ == "__main__":
    main()
