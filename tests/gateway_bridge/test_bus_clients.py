"""Other clients of the same gateway: what a subscriber receives all the same."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway_bridge.modbus.errors import MeterFault
from gateway_bridge.modbus.frames import HOLDING, Frame
from gateway_bridge.modbus.transport import Stray
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.attribution import FORGET_S
from gateway_bridge.polling.poller import GatewayPoller
from simulator.bus import LineTiming
from simulator.frames import encode_rtu
from simulator.simulator import Simulator
from tests.support.leaping import run_leaping
from tests.support.modbus import Master, tcp
from tests.support.polling import MODEL, Received, gateway_at, pin, polling, until

LINE = LineTiming(baud=38400)
BOTH = pytest.mark.parametrize("framing", ["tcp", "rtu"])


@contextlib.asynccontextmanager
async def line(
    framing: str = "tcp", interval_s: float = 0.5, **fault: float
) -> AsyncIterator[tuple[Simulator, GatewayPoller, Received]]:
    """Two meters on a line, read by a poller, behind a gateway with a fault."""
    simulator = Simulator((1, 2), timing=LINE, framing=framing)  # type: ignore[arg-type]
    pin(simulator)
    for name, number in fault.items():
        simulator.fault(None, name.replace("_", "-"), number)
    async with simulator:
        gateway = gateway_at(
            simulator,
            framing=framing,
            interval_s=interval_s,
            timeout_s=1.0,
            cost=LineCost(baud=LINE.baud),
        )
        async with polling(gateway) as (poller, received):
            yield simulator, poller, received


def request(framing: str, unit: int, address: int, count: int) -> bytes:
    """A request as another client would send it."""
    asked = tcp(unit, address, count)
    return asked if framing == "tcp" else encode_rtu(unit, asked[7:])


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings so far."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_gateway_for_one_client_is_waited_for_while_another_one_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        simulator = Simulator((1, 2), timing=LINE)
        pin(simulator)
        simulator.fault(None, "client-limit", 1)
        async with simulator, Master(simulator.port) as other:
            await until(lambda: simulator.gateway.clients)
            async with polling(gateway_at(simulator)) as (_, received):
                await asyncio.sleep(10)
                assert not received.readings
                assert {state for _, state in received.states} == {False}
                other.writer.close()
                await until(lambda: received.of("1") and received.of("2"), timeout_s=2)

    run_leaping(story())

    assert len(logged(caplog)) == 1
    assert "check whether another client is connected" in logged(caplog)[0]


def test_being_dropped_for_another_client_costs_a_reading_at_most(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with line(kick=1) as (simulator, poller, received):
            await until(lambda: len(received.readings) > 2)
            for _ in range(5):
                before = len(received.readings)
                async with Master(simulator.port):
                    await until(lambda n=before: len(received.readings) > n, timeout_s=2)
            assert poller.connection.connects > 5
            assert False not in {state for _, state in received.states}
            assert not received.wrong()

    run_leaping(story())

    assert not logged(caplog)


@BOTH
def test_two_clients_of_a_gateway_that_keeps_them_apart_are_both_served(framing: str) -> None:
    async def story() -> None:
        async with line(framing) as (simulator, _, received), Master(simulator.port) as other:
            for _ in range(20):
                assert await other.ask(request(framing, 1, 24, 76))
            assert len(received.of("1")) > 3
            assert not received.wrong()

    run_leaping(story())


@BOTH
def test_answers_to_another_client_are_passed_over_and_reported_once(
    framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with line(framing, to_all=0) as (simulator, poller, received):
            async with Master(simulator.port) as other:
                for _ in range(25):
                    for unit, address in ((1, 12), (2, 52), (2, 0), (1, 70)):
                        await other.ask(request(framing, unit, address, 2))
                        await asyncio.sleep(0.1)
            assert min(len(received.of("1")), len(received.of("2"))) >= 10
            assert False not in {state for _, state in received.states}
            assert not received.wrong()
            assert poller.line.shared

    run_leaping(story())

    assert len(logged(caplog)) == 1
    assert "sends the responses to another client here, too" in logged(caplog)[0]


@pytest.mark.parametrize("fault", [("rtu", {}), ("tcp", {"transaction_0": 0})])
@pytest.mark.parametrize("after_s", [step / 20 for step in range(21)])
def test_the_first_answer_to_another_client_is_not_published_though_it_fits(
    after_s: float, fault: tuple[str, dict[str, float]]
) -> None:
    """As long as ours and never received before, at any time: ours follows and reveals it."""

    async def story() -> None:
        framing, faults = fault
        async with line(framing, interval_s=1.0, to_all=0, **faults) as (simulator, _, received):
            await until(lambda: received.of("1") and received.of("2"))
            await asyncio.sleep(after_s)
            async with Master(simulator.port) as other:
                for unit in (1, 2):
                    await other.ask(request(framing, unit, 30, 76))
            before = len(received.readings)
            await until(lambda: len(received.readings) > before + 4)
            assert not received.wrong()
            assert False not in {state for _, state in received.states}

    run_leaping(story())


@pytest.mark.parametrize("step", range(48))
def test_nor_is_it_published_after_a_timeout_or_on_a_line_slower_than_planned(step: int) -> None:
    """An answer that is still owed from a timeout does not excuse one that might be ours."""

    async def story() -> None:
        simulator = Simulator((1,), timing=LineTiming(baud=2400), framing="rtu")
        pin(simulator)
        simulator.fault(None, "to-all", 0)
        async with simulator:
            gateway = gateway_at(simulator, framing="rtu", interval_s=3.0, timeout_s=1.0)
            async with polling(gateway) as (poller, received):
                await until(lambda: received.of("1"))
                simulator.fault(1, "dead")
                await until(lambda: poller.meters["1"].state.timeouts)
                simulator.mend(1)
                await asyncio.sleep(10 + step / 8)
                async with Master(simulator.port) as other:
                    await other.ask(request("rtu", 1, 30, 76 + 2 * (step % 2)))
                before = len(received.readings)
                await until(lambda: len(received.readings) > before + 2, timeout_s=60)
                assert not received.wrong()

    run_leaping(story())


def test_a_register_that_the_meter_lacks_is_found_out_while_another_block_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = 362

    async def story() -> None:
        async with Simulator((1,), timing=LineTiming(), framing="rtu") as simulator:
            pin(simulator)
            gateway = gateway_at(
                simulator,
                framing="rtu",
                interval_s=5.0,
                timeout_s=1.0,
                quantities=tuple(MODEL.registers),
                cost=LineCost(),
            )
            async with polling(gateway) as (poller, received):
                read = poller.connection.read

                async def refusing(
                    unit: int, address: int, count: int, *function: int, **wait: Any
                ) -> bytes:
                    if function != (HOLDING,) and address <= absent < address + count:
                        raise MeterFault("exception 2", 2)
                    return await read(unit, address, count, *function, **wait)

                monkeypatch.setattr(poller.connection, "read", refusing)
                slow = next(q for q in MODEL.registers if MODEL.registers[q].address == absent + 2)
                await until(lambda: any(slow in r for r in received.of("1")), timeout_s=120)
                assert not received.wrong()

    run_leaping(story())


def test_nothing_is_published_of_a_meter_whose_answers_cannot_be_attributed() -> None:
    """Without ids only the length distinguishes; here the other client uses all lengths."""

    async def story() -> None:
        async with line("rtu", interval_s=2.0, to_all=0) as (simulator, _, received):
            await until(lambda: received.of("1") and received.of("2"))
            await asyncio.sleep(0.5)
            async with Master(simulator.port) as other:
                for address, count in ((30, 76), (28, 78), (26, 80)):
                    await other.ask(request("rtu", 1, address, count))
                await until(lambda: received.states[-1] == ("1", False), timeout_s=20)
                before = len(received.of("1"))
                for _ in range(20):
                    await other.ask(request("rtu", 1, 30, 76))
                    await asyncio.sleep(0.1)
            assert len(received.of("1")) == before
            assert len(received.of("2")) > 2
            assert not received.wrong()

    run_leaping(story())


def test_a_gateway_that_is_too_busy_takes_its_meters_offline_and_reports_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with line() as (simulator, _, received):
            await until(lambda: received.of("1") and received.of("2"))
            simulator.fault(None, "queue-full", 0)
            await until(lambda: not any(state for _, state in received.states[-2:]))
            before = len(received.readings)
            await asyncio.sleep(5)
            assert len(received.readings) == before
            simulator.mend(None)
            await until(lambda: all(state for _, state in received.states[-2:]), timeout_s=1)
            assert not received.wrong()

    run_leaping(story())

    assert sorted(logged(caplog)) == [f"meter {n}: offline: exception 6 (busy)" for n in (1, 2)]


@BOTH
def test_unrequested_bytes_change_nothing(framing: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with line(framing, unsolicited=0.15) as (_, _, received):
            await asyncio.sleep(60)
            assert min(len(received.of("1")), len(received.of("2"))) >= 95
            assert False not in {state for _, state in received.states}
            assert not received.wrong()

    run_leaping(story())

    assert not logged(caplog)


def test_what_a_gateway_answers_from_memory_is_never_older_than_its_memory() -> None:
    """A caching gateway requests what it knows again, in turn; `doctor` finds that out."""

    async def story() -> None:
        async with line(cache=5) as (simulator, _, received):
            await until(lambda: len(received.of("1")) > 5)
            simulator.set(1, "voltage_l1", 233.0)
            asked = len(received.of("1"))
            await until(lambda: received.of("1")[-1]["voltage_l1"] == 233.0, timeout_s=3)
            assert len(received.of("1")) - asked <= 4
            assert False not in {state for _, state in received.states}

    run_leaping(story())


def test_a_line_on_which_nothing_can_be_attributed_is_waited_for_without_a_busy_loop() -> None:
    async def story() -> None:
        async with line("rtu", interval_s=0.1) as (simulator, poller, received):
            await until(lambda: received.of("1") and received.of("2"))
            for unit, count in itertools.product((1, 2), (76, 78, 80)):
                answer = Frame(unit, bytes([4, 2 * count]) + b"another client's")
                poller._attribution.note(Stray(answer, time.monotonic(), False))
            simulator.gateway.clients[0].close()
            await asyncio.sleep(5)
            assert poller.meters["1"].state.faults < 60
            assert {meter.state.online for meter in poller.meters.values()} == {False}
            await asyncio.sleep(FORGET_S)
            before = len(received.readings)
            await until(lambda: len(received.readings) > before + 1, timeout_s=70)  # by a probe
            assert not received.wrong()

    run_leaping(story())
