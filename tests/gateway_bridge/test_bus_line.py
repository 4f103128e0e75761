"""A line over minutes: its meters keep their rate, die, recover, and share the time there is."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import pytest

from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.poller import GatewayPoller
from simulator.bus import LineTiming
from simulator.simulator import Simulator
from tests.support.leaping import run_leaping
from tests.support.parts import free_port
from tests.support.polling import MODEL, Received, gateway_at, pin, polling, until

ALL = tuple(MODEL.registers)


@contextlib.asynccontextmanager
async def line(
    meters: int = 4, baud: int = 19200, **site: object
) -> AsyncIterator[tuple[Simulator, GatewayPoller, Received]]:
    """Meters on a line of real speed, read by a poller."""
    simulator = Simulator(range(1, meters + 1), timing=LineTiming(baud=baud))
    pin(simulator)
    site = {"interval_s": 1.0, "timeout_s": 1.0, "cost": LineCost(baud=baud)} | site
    async with simulator:
        gateway = gateway_at(simulator, **site)  # type: ignore[arg-type]
        async with polling(gateway) as (poller, received):
            yield simulator, poller, received


async def counted(received: Received, meters: int, seconds: float) -> dict[str, int]:
    """Return the number of readings of each meter in this time."""
    before = len(received.readings)
    await asyncio.sleep(seconds)
    senders = [meter_id for meter_id, _, _ in received.readings[before:]]
    return {str(n): senders.count(str(n)) for n in range(1, meters + 1)}


def test_at_four_fifths_of_the_line_no_tick_is_missed_and_none_drifts() -> None:
    async def story() -> None:
        async with line(3, 9600, quantities=ALL, slow_interval_s=20.0) as (_, poller, received):
            assert 0.75 < poller.line.busy_share() < 0.82
            await asyncio.sleep(30)
            before = poller.line.skipped
            rates = await counted(received, 3, 600)
            assert set(rates.values()) <= {599, 600, 601}
            assert poller.line.skipped == before

    run_leaping(story())


def test_at_twice_what_a_line_can_carry_it_is_always_busy_and_fair() -> None:
    async def story() -> None:
        site = {"quantities": ALL, "slow_interval_s": 20.0}
        async with line(8, 9600, **site) as (simulator, poller, received):
            assert poller.line.busy_share() > 1.9
            await asyncio.sleep(20)
            before_s = simulator.statistics.busy_s
            rates = await counted(received, 8, 300)
            assert simulator.statistics.busy_s - before_s >= 0.97 * 300
            assert max(rates.values()) <= 1.05 * min(rates.values())

    run_leaping(story())


def test_neighbours_of_a_dead_meter_keep_their_rate_and_it_costs_little() -> None:
    async def story() -> None:
        async with line() as (simulator, _, received):
            await asyncio.sleep(20)
            simulator.fault(4, "dead")
            await asyncio.sleep(300)  # until the savings for probes are used up
            probes = simulator.statistics.requests[4]
            rates = await counted(received, 4, 600)
            assert rates.pop("4") == 0
            assert min(rates.values()) >= 0.95 * 600
            timing = simulator.bus.timing
            probe_s = timing.bytes_s(8) + timing.reply_timeout_s + timing.pause_s
            assert (simulator.statistics.requests[4] - probes) * probe_s <= 0.05 * 600

    run_leaping(story())


@pytest.mark.parametrize("silent_s", [2, 15, 60])
def test_a_meter_on_a_full_line_is_back_soon_after_it_responds_again(silent_s: float) -> None:
    async def story() -> None:
        async with line(4, interval_s=0.1) as (simulator, _, received):
            await asyncio.sleep(20)
            for _ in range(3):
                simulator.fault(4, "dead")
                await asyncio.sleep(silent_s)
                simulator.mend(4)
                began_s, before = time.monotonic(), len(received.of("4"))
                await until(lambda before=before: len(received.of("4")) > before, timeout_s=100)
                took_s = time.monotonic() - began_s
                assert took_s <= (2 if silent_s == 2 else 6)
                await asyncio.sleep(300)

    run_leaping(story())


def test_on_a_full_line_the_living_take_over_the_share_of_the_dead() -> None:
    async def story() -> None:
        async with line(3, interval_s=0.1) as (simulator, _, received):
            await asyncio.sleep(10)
            alive = await counted(received, 3, 100)
            simulator.fault(3, "dead")
            await asyncio.sleep(20)
            left = await counted(received, 3, 300)
            assert left["3"] == 0
            assert min(left["1"], left["2"]) / 300 >= 1.4 * max(alive.values()) / 100

    run_leaping(story())


@pytest.mark.parametrize("outage_s", [5, 60, 600])
def test_a_meter_that_was_away_is_back_within_its_probes_delay(outage_s: float) -> None:
    async def story() -> None:
        async with line() as (simulator, _, received):
            await asyncio.sleep(5)
            simulator.fault(2, "dead")
            await asyncio.sleep(outage_s)
            simulator.mend(2)
            await until(lambda: received.states[-1] == ("2", True), timeout_s=60 * 1.1 + 5 + 1)

    run_leaping(story())


@pytest.mark.parametrize("fault", ["refuse", "silent", "accept-reset"])
@pytest.mark.parametrize(("outage_s", "back_s"), [(8, 2), (60, 12), (900, 35)])
def test_a_gateway_that_was_away_is_back_the_sooner_the_shorter_it_was(
    fault: str, outage_s: float, back_s: float
) -> None:
    slack_s = 2.0 if fault == "silent" else 0.0  # the probe that is under way ends in a timeout

    async def story() -> None:
        async with line() as (simulator, poller, received):
            await asyncio.sleep(5)
            simulator.fault(None, fault)
            for client in list(simulator.gateway.clients):
                client.reset()
            await asyncio.sleep(outage_s)
            assert poller.connection.trouble or outage_s < 10
            simulator.mend(None)
            before, since_s = len(received.readings), time.monotonic()
            await until(lambda: len(received.readings) > before, timeout_s=60)
            assert time.monotonic() - since_s <= back_s + slack_s
            await until(lambda: all(m.state.online for m in poller.meters.values()), timeout_s=5)
            assert poller.connection.trouble is None

    run_leaping(story())


def test_a_gateway_that_is_exchanged_for_one_of_the_other_framing_is_understood(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        port = free_port()
        first = Simulator((1, 2), timing=LineTiming(baud=38400), listen=("127.0.0.1", port))
        other = Simulator(
            (1, 2), timing=LineTiming(baud=38400), framing="rtu", listen=("127.0.0.1", port)
        )
        pin(first)
        pin(other)
        async with polling(gateway_at(first, framing="auto", interval_s=1.0)) as (_, received):
            async with first:
                await until(lambda: received.of("1") and received.of("2"))
                first.fault(None, "refuse")
            await asyncio.sleep(60)
            async with other:
                before = len(received.readings)
                await until(lambda: len(received.readings) > before + 1, timeout_s=30)
                assert not received.wrong()

    run_leaping(story())

    lines = [record.getMessage() for record in caplog.records]
    assert any(logged.endswith("s, RTU over TCP") for logged in lines)
    assert len(lines) <= 12


def test_of_two_meters_with_one_unit_id_no_counter_jumps_to_and_fro(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with line(2, 38400) as (simulator, poller, received):
            simulator.clear(1)
            await until(lambda: received.of("1"))
            simulator.fault(1, "twin")
            await asyncio.sleep(300)
            counted = [values["energy"] for values in received.of("1") if "energy" in values]
            assert counted == sorted(counted)
            assert counted[-1] - counted[0] < 50
            assert poller.meters["1"].state.held > 0
            assert not [w for w in received.wrong() if w.startswith("meter 2")]

    run_leaping(story())

    assert any("held back, a counter" in record.getMessage() for record in caplog.records)


def test_a_dead_meter_makes_few_lines_of_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        async with line() as (simulator, _, _received):
            await asyncio.sleep(5)
            caplog.clear()
            simulator.fault(4, "dead")
            await asyncio.sleep(900)

    run_leaping(story())

    assert [r.getMessage() for r in caplog.records] == ["meter 4: offline: no response within 1 s"]


@pytest.mark.parametrize("fault", ["refuse", "accept-reset"])
def test_after_an_outage_of_a_gateway_all_its_meters_are_back_within_a_second(fault: str) -> None:
    """Also one that was silent before the outage, and responds after it."""

    async def story() -> None:
        async with line() as (simulator, _, received):
            await asyncio.sleep(5)
            simulator.fault(4, "dead")
            await asyncio.sleep(120)
            simulator.fault(None, fault)
            for client in list(simulator.gateway.clients):
                client.reset()
            await asyncio.sleep(10)
            simulator.mend(4)
            simulator.mend(None)
            assert await all_back_s(received) <= 1.0

    run_leaping(story())


def test_after_resets_one_after_another_all_meters_are_back_within_a_second() -> None:
    async def story() -> None:
        async with line() as (simulator, _, received):
            await asyncio.sleep(5)
            for _ in range(6):
                await asyncio.sleep(2.6)
                for client in list(simulator.gateway.clients):
                    client.reset()
            assert await all_back_s(received) <= 1.0

    run_leaping(story())


async def all_back_s(received: Received) -> float:
    """Return the seconds until each of four meters has published again, to a tenth.

    The clock leaps only while nothing happens: on a busy machine real milliseconds are among them.
    """
    began_s, before = time.monotonic(), len(received.readings)
    await until(lambda: len({each[0] for each in received.readings[before:]}) == 4, timeout_s=60)
    return round(time.monotonic() - began_s, 1)
