"""Capacity: the readings a second of a bridge, which scalars it publishes, and what that costs."""

import time
from collections.abc import Iterable

from gateway_bridge.settings import BridgeSettings, Scalars
from gateway_bridge.site.site import Gateway

MOST_FOR_ALL = 100
"""Readings a second above which a bridge publishes only changed scalars, unless they are set."""
FULL = 0.75
"""Share of a core above which a bridge has no room for replays and retries."""
READING_S: dict[Scalars, float] = {"all": 640e-6, "changed": 590e-6, "off": 520e-6}
"""CPU time of a reading of 32 values, polled, published and journaled, measured by
`benchmarks/bus_scale.py` on a machine on which `_loop` takes LOOP_S."""
LOOP_S = 0.0008


def readings_per_s(gateways: Iterable[Gateway]) -> float:
    """Return how many readings a second the settings ask for."""
    return sum(1 / meter.interval_s for gateway in gateways for meter in gateway.meters)


def scalars_of(settings: BridgeSettings, rate: float) -> Scalars:
    """Return which scalars to publish at a number of readings a second."""
    return settings.scalars or ("all" if rate <= MOST_FOR_ALL else "changed")


def core_share(rate: float, scalars: Scalars, slowness: float) -> float:
    """Return which share of a core a bridge takes for a number of readings a second."""
    return rate * READING_S[scalars] * slowness


def slowness() -> float:
    """Return how much more time this machine takes than that of the measurement; takes 20 ms."""
    return min(_loop() for _ in range(10)) / LOOP_S


def _loop() -> float:
    began_s, total = time.thread_time(), 0.0
    for number in range(2_000):
        total += float(f"{number / 7:.3f}") + len({"a": number, "b": (number,)})
    return time.thread_time() - began_s


def load_text(rate: float, share: float) -> str:
    """Return the load as a sentence, with a remedy where it is too high."""
    text = f"{rate:.3g} readings a second take about {100 * share:.0f} % of a core"
    if share <= FULL:
        return text
    return f"{text}; use several bridges, a longer POLL_INTERVAL or SCALARS=off (docs/scale-out.md)"
