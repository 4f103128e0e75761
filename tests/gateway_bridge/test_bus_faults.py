"""Each fault of a meter: what a subscriber receives of it, and of its neighbour on the line.

Of faults of the whole gateway tell test_gateway.py, test_bus_line.py and test_bus_clients.py; of
all of them in a random mixture test_bus_wrong_values.py.
"""

import asyncio
import logging

import pytest

from simulator.bus import LineTiming
from simulator.faults import FAULTS
from simulator.simulator import Simulator
from tests.support.leaping import run_leaping
from tests.support.polling import Received, gateway_at, pin, polling, until

LINE = LineTiming(baud=38400)
TIMEOUT_S = 1.0
INTERVAL_S = 0.5
UNDER_WAY_S = 0.5
"""Longer than an answer takes, and is held back over RTU, before it is a reading."""
FAULTY_S = 20
READINGS = FAULTY_S / INTERVAL_S
MOST_LINES = 5

READ = {
    ("slow", 0.2), ("late", 0.1), ("split", 0.05), ("duplicate", None), ("garbage", 5.0),
    ("garbage", 300.0),
}  # fmt: skip
OFFLINE = {
    ("dead", None), ("slow", 1.5), ("late", 1.5), ("split", 1.5),
    ("limit", 50.0), ("exception", 1.0), ("exception", 2.0), ("exception", 3.0), ("exception", 4.0),
    ("exception", 5.0), ("exception", 6.0), ("exception", 10.0), ("exception", 11.0),
    ("wrong-function", None), ("wrong-unit", None), ("fewer", 2.0),
    ("more", 2.0), ("byte-count", 4.0), ("close", None), ("reset", None),
}  # fmt: skip
AT_TIMES = {("late-after-next", None), ("stale", None)}
"""The second of two requests can bring the response to the first one."""
SILENT = {("nan", None), ("inf", None), ("zero", None)}
OF_ONE_FRAMING = {
    "wrong-transaction": "tcp", "transaction-0": "tcp", "protocol": "tcp", "bad-crc": "rtu",
}  # fmt: skip
OF_COUNTERS = {"counter-zero", "counter-back", "jump"}
ELSEWHERE = {"strict-holes", "twin", "reversed-ct", "swapped-cts", "ct-ratio"}
"""test_gateway.py, test_bus_line.py, test_wiring.py and test_doctor.py have these."""

Case = tuple[str, str, float | None, str]


def cases() -> list[Case]:
    """Yield framing, fault, its number, and the outcome."""
    both = {**dict.fromkeys(READ, "read"), **dict.fromkeys(OFFLINE, "offline")}
    both |= dict.fromkeys(SILENT, "silent") | dict.fromkeys(AT_TIMES, "at times")
    every = [(f, *fault, outcome) for fault, outcome in both.items() for f in ("tcp", "rtu")]
    every += [(framing, name, None, "offline") for name, framing in OF_ONE_FRAMING.items()]
    return sorted(every, key=str)


def meet(
    framing: str, fault: str, number: float | None, seconds: float
) -> tuple[Received, Received]:
    """Let the fault strike meter 1 of two; return what was received meanwhile, and in all.

    Fails where meter 1 is not back after it.
    """

    async def story() -> tuple[Received, Received]:
        simulator = Simulator((1, 2), timing=LINE, framing=framing)  # type: ignore[arg-type]
        pin(simulator)
        async with simulator:
            gateway = gateway_at(
                simulator, framing=framing, interval_s=INTERVAL_S, timeout_s=TIMEOUT_S
            )
            async with polling(gateway) as (poller, received):
                await until(lambda: len(received.of("1")) > 2 and len(received.of("2")) > 2)
                simulator.fault(1, fault, number)
                await asyncio.sleep(UNDER_WAY_S)
                before = len(received.readings)
                await asyncio.sleep(seconds)
                states = [
                    (meter_id, poller.meters[meter_id].state.online) for meter_id in ("1", "2")
                ]
                meanwhile = Received(received.readings[before:], states)
                simulator.mend(1)
                before = len(received.of("1"))
                await until(lambda: len(received.of("1")) > before + 2, timeout_s=60)
        return meanwhile, received

    return run_leaping(story())


@pytest.mark.parametrize(("framing", "fault", "number", "outcome"), cases())
def test_a_faulty_meter_publishes_nothing_wrong_and_its_neighbour_goes_on(
    framing: str, fault: str, number: float | None, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "gateway_bridge"):
        meanwhile, in_all = meet(framing, fault, number, FAULTY_S)

    assert not in_all.wrong()
    assert len(meanwhile.of("2")) > 0.7 * READINGS, "at most three timeouts until it is offline"
    states = dict(meanwhile.states)
    assert states["2"]
    if outcome != "at times":
        assert states["1"] == (outcome != "offline")
    if outcome == "read":
        assert len(meanwhile.of("1")) > 0.6 * READINGS
    elif outcome != "at times":
        assert len(meanwhile.of("1")) == 0
    assert len(caplog.records) <= MOST_LINES


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
@pytest.mark.parametrize("fault", sorted(OF_COUNTERS))
def test_a_counter_that_cannot_be_is_held_back_and_the_rest_is_published(
    framing: str, fault: str
) -> None:
    meanwhile, in_all = meet(framing, fault, None, 2)

    assert not in_all.wrong()
    assert len(meanwhile.of("1")) > 2
    assert all("voltage" in values and "energy" not in values for values in meanwhile.of("1"))
    assert "energy" in in_all.of("1")[-1]


def test_every_fault_of_a_meter_is_met() -> None:
    of_meters = {name for name, kind in FAULTS.items() if kind.scope == "meter"}
    met = (
        {name for name, _ in READ | OFFLINE | SILENT | AT_TIMES}
        | OF_COUNTERS
        | OF_ONE_FRAMING.keys()
    )

    assert of_meters == met | ELSEWHERE
