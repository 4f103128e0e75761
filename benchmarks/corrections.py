"""How soon a service corrects what others put in place of its retained messages, and the price.

    python benchmarks/corrections.py [--gateways 100]

Real parts: simulated gateways, a bridge, Mosquitto and a recorder. A service subscribes to its own
topics to see what others publish there; the price is that all its messages on them come back.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice

import paho.mqtt.client as paho

from benchmarks.bus_scale import METERS, running, simulated
from benchmarks.figures import Verdict, title
from contract import topics
from gateway_bridge.publishing.discovery import BRIDGE_NODE
from service.mqtt import MqttClient, Subscription
from service.settings import Settings
from tests.support.parts import wait_until
from tests.support.plain_client import PlainClient

FEW, MANY = 3, 1000
WITHIN_S = 5.0
WRONG = {"status": "offline", "info": "", "config": ""}
"""What an attacker publishes, by the last level of the topic."""
CONNECTED_S, STEADY_S = 20, 65
"""Seconds to measure the traffic for; the second has the infos, which come once a minute."""
MOST_AT_CONNECT, MOST_STEADY = 60, 0.05
"""Limits of the traffic: seconds of readings, and a share of them."""
FILTERS = (
    topics.BRIDGE_STATUSES,
    topics.BRIDGE_INFOS,
    topics.recorder("+", "status"),
    topics.recorder("+", "info"),
    topics.ALL_STATUSES,
    topics.ALL_INFOS,
    topics.ALL_DISCOVERIES,
    topics.discovery("+", BRIDGE_NODE),
)


@dataclass
class Watch:
    """A subscriber that notes how long a wrong message stands, and counts messages and bytes."""

    since_s: dict[str, float] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    own: int = 0
    readings: int = 0

    def take(self, message: paho.MQTTMessage) -> None:
        """Note a message."""
        topic, now_s = message.topic, time.monotonic()
        if topic.endswith("/reading"):
            self.readings += len(topic) + len(message.payload)
            return
        self.own += len(topic) + len(message.payload)
        if message.payload.decode() == WRONG.get(_leaf(topic)):
            self.since_s.setdefault(topic, now_s)
        else:
            self.known.add(topic)
            if topic in self.since_s:
                self.took_s.append(now_s - self.since_s.pop(topic))


def _leaf(topic: str) -> str:
    return topic.rpartition("/")[2]


@contextmanager
def watched(ports: Sequence[int], meters: int) -> Iterator[tuple[Watch, PlainClient]]:
    """Run the parts with a subscriber; yield it, and the attacker."""
    watch = Watch()
    with ExitStack() as stack:

        def subscribe(port: int) -> None:
            client = MqttClient(
                Settings(mqtt_host="127.0.0.1", mqtt_port=port),
                "benchmark",
                subscriptions=tuple(
                    Subscription(each, 0) for each in (*FILTERS, topics.ALL_READINGS)
                ),
                on_message=watch.take,
            )
            client.start()
            stack.callback(client.stop)
            wait_until(lambda: client.subscribed, what="the subscriber")

        scene = running(ports, "off", recorded=True, meters=meters, subscribe=subscribe)
        _, port, _ = stack.enter_context(scene)
        yield watch, stack.enter_context(PlainClient(port))


def attacked(watch: Watch, attacker: PlainClient, wrong: int, each_s: float) -> float:
    """Publish so many wrong messages, in turn on each topic; return how long one stood at most."""
    watch.took_s.clear()
    for topic in islice(cycle(sorted(watch.known)), wrong):
        attacker.begin_publish(topic, WRONG[_leaf(topic)], retain=True)
        time.sleep(each_s)
    wait_until(lambda: watch.took_s and not watch.since_s, 60, "the corrections")
    return max(watch.took_s)


def corrected(verdict: Verdict, watch: Watch, attacker: PlainClient, meters: int) -> None:
    """Measure how long wrong messages stand: one, and a flood of a thousand."""
    owned = 3 * meters + 5  # of the meters, the bridge and the recorder
    wait_until(lambda: len(watch.known) == owned, 60, f"{owned} retained messages")
    time.sleep(CONNECTED_S)  # nothing of the start is on its way
    for what, wrong, each_s in (
        ("one wrong message", 1, 0.0),
        ("a flood of 1,000 wrong ones", 1000, 0.0),
        ("1,000 wrong ones in 10 s", 1000, 0.01),
    ):
        took_s = attacked(watch, attacker, wrong, each_s)
        beside = f"slowest of {len(watch.took_s)} corrections"
        ok = took_s <= WITHIN_S
        verdict.figure(what, f"{took_s:.1f} s", beside, f"<= {WITHIN_S:g} s", ok=ok)


def traffic(verdict: Verdict, watch: Watch) -> None:
    """Measure what comes back to the bridge from its own topics."""
    time.sleep(CONNECTED_S)
    own, began_s, readings = watch.own, time.monotonic(), watch.readings
    time.sleep(STEADY_S)
    passed_s = time.monotonic() - began_s
    rate = (watch.readings - readings) / passed_s
    seconds = own / rate
    beside = f"{seconds:.0f} x a second of whole readings ({rate / 1e3:.0f} kB)"
    verdict.figure("own messages that come back at the start", f"{own / 1e6:.1f} MB", beside,
                   f"<= {MOST_AT_CONNECT} x", ok=seconds <= MOST_AT_CONNECT)  # fmt: skip
    steady = (watch.own - own) / passed_s
    share = steady / rate
    verdict.figure("the same later, a second", f"{steady / 1e3:.1f} kB",
                   f"{100 * share:.1f} % of whole readings", f"<= {100 * MOST_STEADY:.0f} %",
                   ok=share <= MOST_STEADY)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=MANY // METERS, help="with 10 meters each")
    options = parser.parse_args()
    verdict = Verdict()
    with simulated(options.gateways) as ports:
        for number, meters in ((1, FEW), (options.gateways, METERS)):
            with watched(ports[:number], meters) as (watch, attacker):
                title(
                    f"a bridge with {number * meters} meters, a reading a second each; a recorder"
                )
                if number > 1:
                    traffic(verdict, watch)
                corrected(verdict, watch, attacker, number * meters)
    verdict.end()


if __name__ == "__main__":
    main()
