"""A gateway under every fault: no wrong value is published, and other meters stay online."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contract.quantities import DEFAULT_SET
from gateway_bridge.modbus.errors import MeterFault, MeterTimeout
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.poller import GatewayPoller
from simulator.bus import LineTiming
from simulator.simulator import Simulator
from tests.support.leaping import run_leaping
from tests.support.parts import free_port
from tests.support.polling import FAST, MODEL, Received, gateway_at, pin, pinned, polling, until

ALL = tuple(MODEL.registers)
Story = Callable[[Simulator, GatewayPoller, Received], Awaitable[None]]


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe a dead meter sooner than a real one."""
    monkeypatch.setattr("gateway_bridge.polling.breaker.DELAYS_S", (0.5, 1.0))
    monkeypatch.setattr("gateway_bridge.polling.schedule.PROBE_PATIENCE_S", 0.2)


def play(
    story: Story,
    *,
    units: tuple[int, ...] = (1, 2),
    timing: LineTiming = FAST,
    spoken: str = "tcp",
    **site: object,
) -> None:
    """Let a poller meet a simulator in which every register has a value of its own."""

    async def run() -> None:
        simulator = Simulator(units, timing=timing, framing=spoken)  # type: ignore[arg-type]
        pin(simulator)
        async with simulator:
            site.setdefault("framing", spoken)
            gateway = gateway_at(simulator, **site)  # type: ignore[arg-type]
            async with polling(gateway) as (poller, received):
                await story(simulator, poller, received)

    run_leaping(run())


def test_a_reading_holds_all_quantities_as_the_meter_has_them() -> None:
    async def story(_simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        await until(lambda: received.of("1") and received.of("2"))

        wanted = {name: pinned(1, name) for name in poller.meters["1"].registers}
        assert received.of("1")[0] == pytest.approx(wanted, abs=0.0011)
        assert poller.meters["1"].state.serial != poller.meters["2"].state.serial
        assert poller.meters["1"].wiring == "3p4w"

    play(story)


def test_the_slow_quantities_come_with_some_readings_and_are_absent_from_the_others() -> None:
    async def story(_simulator: Simulator, _poller: GatewayPoller, received: Received) -> None:
        await until(lambda: len(received.of("1")) >= 8)

        sizes = {len(values) for values in received.of("1")}
        assert min(sizes) == 33
        assert max(sizes) > 60

    play(story, quantities=ALL, slow_interval_s=0.5)


@pytest.mark.parametrize("spoken", ["tcp", "rtu"])
def test_the_framing_is_found_even_when_the_first_meter_is_dead(spoken: str) -> None:
    async def run() -> None:
        simulator = Simulator((1, 2), timing=FAST, framing=spoken)  # type: ignore[arg-type]
        pin(simulator)
        simulator.fault(1, "dead")
        async with simulator, polling(gateway_at(simulator, framing="auto")) as (poller, received):
            await until(lambda: received.of("2"))

            assert poller.connection.framing == spoken

    run_leaping(run())


def test_a_meter_that_answers_the_low_word_first_is_understood() -> None:
    async def run() -> None:
        simulator = Simulator((1,), timing=FAST, word_order="low-first")
        simulator.set(1, "voltage_l1", 230.5)
        async with simulator, polling(gateway_at(simulator)) as (_, received):
            await until(lambda: received.of("1"))
            assert received.of("1")[0]["voltage_l1"] == 230.5

    run_leaping(run())


@pytest.mark.usefixtures("quick_probes")
def test_a_dead_meter_goes_offline_its_neighbour_keeps_its_rate_and_it_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def story(simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        await until(lambda: received.of("1") and received.of("2"))
        simulator.fault(1, "dead")
        await until(lambda: ("1", False) in received.states)
        dead, alive = len(received.of("1")), len(received.of("2"))
        await until(lambda: poller.meters["1"].state.timeouts > 2, what="a probe")
        assert len(received.of("1")) == dead
        assert len(received.of("2")) > alive
        simulator.mend(1)
        await until(lambda: received.states[-1] == ("1", True), what="the meter to come back")
        assert poller.meters["1"].state.timeouts <= 6

    play(story)

    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("meter 1: offline: no response within") for line in lines)
    assert any(line.startswith("meter 1: online again after") for line in lines)
    assert len(lines) < 10


@pytest.mark.usefixtures("quick_probes")
def test_a_meter_that_never_answers_its_second_block_goes_offline() -> None:
    async def story(simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        simulator.fault(1, "limit", 30)
        await until(lambda: received.of("1") and len(poller.meters["1"].live) > 1)
        respond = simulator.bus._respond
        simulator.bus._respond = lambda request: (  # type: ignore[method-assign]
            None if request.unit == 1 and request.registers[0] else respond(request)
        )
        await until(lambda: received.states[-1:] == [("1", False)], what="it to go offline")
        alive = len(received.of("2"))
        await until(lambda: len(received.of("2")) > alive + 2, what="its neighbour")
        assert received.states[-1] == ("1", False)

    play(story)


@pytest.mark.parametrize(
    ("fault", "number", "says"),
    [
        ("refuse", None, "refuses the connection; check the port"),
        ("accept-reset", None, "accepts connections and closes them again; check whether another"),
        ("silent", None, "accepts connections, but no meter responds any more; check METER_IDS"),
    ],
)
@pytest.mark.usefixtures("quick_probes")
def test_the_log_reports_what_is_wrong_with_a_gateway_and_when_it_is_over(
    fault: str, number: float | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story(simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        await until(lambda: received.of("2"))
        simulator.fault(None, fault, number)
        if fault != "silent":
            simulator.fault(1, "close", times=1)
        await until(lambda: poller.connection.trouble, what="the trouble to be logged")
        await until(lambda: received.states[-2:] in OFFLINE, what="both meters to go offline")
        simulator.mend(None)
        readings = len(received.readings)
        await until(lambda: len(received.readings) > readings + 2, what="readings again")
        assert poller.connection.trouble is None

    play(story)

    lines = [record.getMessage() for record in caplog.records]
    assert sum(says in line for line in lines) == 1
    assert any("responds again after" in line for line in lines)


OFFLINE = ([("1", False), ("2", False)], [("2", False), ("1", False)])


def test_a_gateway_that_is_away_at_the_start_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        simulator = Simulator((1,), timing=FAST, listen=("127.0.0.1", free_port()))
        pin(simulator)
        async with polling(gateway_at(simulator)) as (_, received):
            await until(lambda: caplog.records)
            async with simulator:
                await until(lambda: received.of("1"), timeout_s=3)

    run_leaping(run())

    assert "refuses the connection" in caplog.records[0].getMessage()


def test_an_idle_connection_that_the_gateway_closes_is_not_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        simulator.fault(None, "idle-close", 0.2)
        await until(lambda: len(received.of("1")) >= 3)
        assert poller.connection.connects >= 3

    play(story, interval_s=0.6)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_meter_that_refuses_long_blocks_is_read_in_shorter_ones() -> None:
    async def run() -> None:
        simulator = Simulator((1,), timing=FAST)
        pin(simulator)
        simulator.fault(1, "limit", 30)
        async with simulator, polling(gateway_at(simulator)) as (poller, received):
            await until(lambda: len(received.of("1")) >= 3)

            assert max(block.count for block in poller.meters["1"].live) <= 20
            assert len(received.of("1")[0]) == len(DEFAULT_SET)
            assert received.wrong() == []
            assert [event for event in poller.meters["1"].state.events if "refuses" in event] == [
                "refuses 76 registers at once; reading fewer from now on"
                " (exception 2 (illegal address))"
            ]

    run_leaping(run())


def test_a_meter_that_refuses_undefined_registers_still_gives_whole_readings() -> None:
    async def run() -> None:
        simulator = Simulator((1,), timing=FAST)
        pin(simulator)
        simulator.fault(1, "strict-holes")
        async with simulator, polling(gateway_at(simulator)) as (_, received):
            await until(lambda: len(received.of("1")) >= 2)
            assert len(received.of("1")[0]) == len(DEFAULT_SET)
            assert received.wrong() == []

    run_leaping(run())


def test_a_meter_that_refuses_everything_is_offline_with_a_word_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(simulator: Simulator, _poller: GatewayPoller, received: Received) -> None:
        simulator.fault(1, "exception", 2)
        await until(lambda: ("1", False) in received.states)

    play(story)

    assert any("refuses every register" in r.getMessage() for r in caplog.records)


@pytest.mark.usefixtures("quick_probes")
def test_another_serial_number_is_reported_and_the_counters_start_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(simulator: Simulator, _poller: GatewayPoller, received: Received) -> None:
        await until(lambda: received.of("1"))
        simulator.fault(1, "dead")
        await until(lambda: ("1", False) in received.states)
        simulator.set(1, "serial_number", 4711)
        simulator.set(1, "energy_import", 0.5)
        simulator.mend(1)
        await until(lambda: received.of("1")[-1].get("energy") == 0.5, what="the new counter")

    play(story)

    assert any("serial number 4711" in r.getMessage() for r in caplog.records)


@pytest.mark.parametrize("baud", [9600, 38400])
def test_a_full_line_is_read_at_the_pace_of_the_wire(
    baud: int, caplog: pytest.LogCaptureFixture
) -> None:
    cost = LineCost(baud=baud)
    timing = LineTiming(baud=baud, turnaround_s=0.04, pause_s=0.02)

    async def story(_simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        await until(lambda: len(received.readings) >= 4)
        started, before = asyncio.get_running_loop().time(), len(received.readings)
        await until(lambda: len(received.readings) >= before + 6, timeout_s=20)
        each_s = (asyncio.get_running_loop().time() - started) / 6

        assert each_s <= 1.05 * cost.total_ms(poller.meters["1"].live) / 1000
        counts = [len(received.of(meter_id)) for meter_id in ("1", "2", "3")]
        assert max(counts) - min(counts) <= 1

    play(story, units=(1, 2, 3), timing=timing, cost=cost, timeout_s=1.0)

    assert not caplog.records  # the plan reports a full line before the start


def test_a_meter_exchanged_while_its_gateway_was_away_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(simulator: Simulator, _poller: GatewayPoller, received: Received) -> None:
        await until(lambda: received.of("1"))
        simulator.fault(None, "refuse")
        await until(lambda: ("1", False) in received.states)
        simulator.set(1, "serial_number", 4711)
        simulator.set(1, "energy_import", 0.5)
        simulator.mend(None)
        await until(lambda: received.of("1")[-1].get("energy") == 0.5, what="the new counter")

    play(story)

    assert any("serial number 4711" in r.getMessage() for r in caplog.records)


def test_a_storm_of_refusals_leaves_no_trace() -> None:
    async def story(simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        await until(lambda: received.of("1"))
        plan, sizes = poller.meters["1"].live, {len(values) for values in received.of("1")}
        simulator.fault(1, "exception", 2)
        await asyncio.sleep(20)
        assert ("1", False) in received.states
        simulator.mend(1)
        before = len(received.of("1"))
        await until(lambda: len(received.of("1")) > before + 3)
        assert poller.meters["1"].live == plan
        assert {len(values) for values in received.of("1")[before:]} == sizes
        assert not poller.meters["1"].state.events

    play(story)


def test_a_meter_that_can_less_than_before_is_read_in_shorter_blocks_after_a_minute() -> None:
    async def story(simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        await until(lambda: received.of("1"))
        simulator.fault(1, "limit", 30)
        await until(lambda: ("1", False) in received.states)
        before = len(received.of("1"))
        await until(lambda: len(received.of("1")) > before + 3, timeout_s=90)
        assert max(block.count for block in poller.meters["1"].live) <= 30
        assert not received.wrong()

    play(story)


@pytest.mark.parametrize("silent", [True, False])
def test_slow_registers_that_do_not_come_are_reported_once_and_take_no_meter_offline(
    silent: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(_simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        ask = poller.connection.read

        async def lacks_some(
            unit: int, address: int, count: int, function: int = 4, **wait: Any
        ) -> bytes:
            if address >= 200 and silent:
                raise MeterTimeout("no response within 1 s")
            if address >= 200 and function == 4:
                raise MeterFault("exception 4 (device failure)", 4)
            return await ask(unit, address, count, function, **wait)

        monkeypatch.setattr(poller.connection, "read", lacks_some)
        await asyncio.sleep(30)
        assert len(received.of("1")) > 30
        assert ("1", False) not in received.states

    play(story, units=(1,), quantities=ALL, interval_s=0.5, slow_interval_s=2)

    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == len(set(logged)) == 3
    assert all("cannot read registers" in sentence for sentence in logged)


def test_a_meter_that_is_silent_about_itself_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(_simulator: Simulator, poller: GatewayPoller, received: Received) -> None:
        ask = poller.connection.read

        async def silent_to_3(
            unit: int, address: int, count: int, function: int = 4, **wait: Any
        ) -> bytes:
            if function == 3:
                raise MeterTimeout("no response within 1 s")
            return await ask(unit, address, count, function, **wait)

        monkeypatch.setattr(poller.connection, "read", silent_to_3)
        await until(lambda: len(received.of("1")) > 3)

    play(story, units=(1,))


def test_a_gateway_that_reports_itself_that_all_meters_are_dead_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        simulator = Simulator((1, 2), timing=FAST, absent="exception")
        pin(simulator)
        async with simulator, polling(gateway_at(simulator)) as (poller, received):
            await until(lambda: received.of("1") and received.of("2"))
            connects = poller.connection.connects
            for unit in (1, 2):
                simulator.fault(unit, "dead")
            await asyncio.sleep(120)
            assert poller.connection.trouble
            assert poller.connection.connects - connects < 80  # ever fewer
            before = len(received.readings)
            simulator.mend(1)
            await until(lambda: len(received.readings) > before, timeout_s=35)
            assert poller.connection.trouble is None

    run_leaping(run())

    logged = [r.getMessage() for r in caplog.records if r.getMessage().startswith("gateway")]
    assert len(logged) == 1
    assert "no meter responds any more" in logged[0]
