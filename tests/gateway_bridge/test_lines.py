"""The bridge on every kind of line: serial, transparent, low word first, meters fed from below."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from contract.quantities import QUANTITIES
from gateway_bridge.address import SerialLine
from gateway_bridge.meter.identity import identify
from gateway_bridge.meter.plausibility import Gate
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.frames import HOLDING
from gateway_bridge.modbus.transport import Transport
from gateway_bridge.models import MODELS
from gateway_bridge.models.inversion import ANGLES, SIGNED, inverted, turned
from simulator.simulator import Simulator
from tests.support.polling import FAST, MODEL, gateway_at, pin, polling, until


def test_a_serial_line_is_read_like_a_gateway_and_nothing_is_wrong(tmp_path: Path) -> None:
    async def story() -> None:
        async with Simulator((1, 2), timing=FAST, framing="rtu") as simulator:
            simulator.open_serial(tmp_path / "line")
            pin(simulator)
            line = SerialLine(str(tmp_path / "line"))
            gateway = replace(gateway_at(simulator), where=line, framing="rtu")
            async with polling(gateway) as (poller, received):
                await until(lambda: len(received.of("1")) > 5 and len(received.of("2")) > 5)
                simulator.fault(1, "late", 0.4, times=1)
                await until(lambda: poller.meters["1"].state.timeouts)
                before = len(received.of("1"))
                await until(lambda: len(received.of("1")) > before + 3)
            assert received.wrong() == []
            assert gateway.address == str(tmp_path / "line")

    asyncio.run(story())


def test_an_adapter_that_is_unplugged_and_plugged_in_again_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with Simulator((1,), timing=FAST, framing="rtu") as simulator:
            simulator.open_serial(tmp_path / "line")
            line = SerialLine(str(tmp_path / "line"))
            gateway = replace(gateway_at(simulator), where=line, framing="rtu")
            async with polling(gateway) as (poller, received):
                await until(lambda: received.readings)
                simulator._serial.pop().end()
                await until(lambda: poller.connection.trouble)
                simulator.open_serial(tmp_path / "line")
                before = len(received.readings)
                await until(lambda: len(received.readings) > before)

    asyncio.run(story())

    assert "does not exist; check that the adapter is plugged in" in caplog.text


def test_an_adapter_that_another_program_uses_is_reported(tmp_path: Path) -> None:
    async def story() -> None:
        async with Simulator((1,), timing=FAST, framing="rtu") as simulator:
            simulator.open_serial(tmp_path / "line")
            line = SerialLine(str(tmp_path / "line"))
            first, second = (Transport(line, "rtu", timeout_s=0.3) for _ in range(2))
            await first.connect()
            try:
                with pytest.raises(GatewayError, match="in use by another program"):
                    await second.connect()
            finally:
                first.close()

    asyncio.run(story())


def test_a_device_path_that_contains_lock_is_not_taken_for_a_locked_device(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.mkdir()

    with pytest.raises(GatewayError, match="cannot be opened as a serial line"):
        asyncio.run(Transport(SerialLine(str(path)), "rtu", timeout_s=0.3).connect())


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_low_words_first_are_noticed_and_no_value_is_wrong(framing: str) -> None:
    async def story() -> None:
        async with Simulator(
            (1,),
            timing=FAST,
            framing=framing,
            word_order="low-first",  # type: ignore[arg-type]
        ) as simulator:
            for name in ("voltage_l1", "voltage_l2", "voltage_l3", "energy_import"):
                simulator.set(1, name, 231.5)
            gateway = gateway_at(simulator, framing="auto")
            async with polling(gateway) as (poller, received):
                await until(lambda: len(received.readings) > 2)
            assert {values["voltage_l1"] for values in received.of("1")} == {231.5}
            assert all(45 < values["frequency"] < 65 for values in received.of("1"))
            assert poller.connection.framing == framing
            assert poller.meters["1"].state.serial == str(simulator.meters[1].serial_number)

    asyncio.run(story())


def test_a_word_order_in_the_settings_outweighs_what_the_meter_shows() -> None:
    async def story() -> None:
        async with Simulator((1,), timing=FAST, word_order="low-first") as simulator:
            simulator.set(1, "frequency", 1.0)
            simulator.set(1, "system_type", 0.0)
            simulator.set(1, "voltage_l1", 229.0)
            gateway = gateway_at(simulator)
            meters = tuple(replace(meter, low_word_first=True) for meter in gateway.meters)
            async with polling(replace(gateway, meters=meters)) as (_, received):
                await until(lambda: received.readings)
            assert received.of("1")[0]["voltage_l1"] == 229.0

    asyncio.run(story())


def test_the_serial_number_is_independent_of_the_order_of_floats() -> None:
    async def respond(address: int, _count: int, function: int) -> bytes:
        if function == HOLDING and address == MODEL.serial_number.address:
            return (21_001_026).to_bytes(4, "big")
        return b"\x00\x00\x42\x48"  # 50.0, the less significant register first

    identity = asyncio.run(identify(MODEL, respond))

    assert identity.low_word_first
    assert identity.serial == "21001026"


def test_a_meter_fed_from_below_is_turned_round() -> None:
    async def story() -> None:
        async with Simulator((1,), timing=FAST) as simulator:
            for name, value in (
                ("power", 1200.0),
                ("power_l1", 400.0),
                ("power_factor", 0.9),
                ("phase_angle", 25.0),
                ("current_l1", 2.0),
                ("energy_import", 1000.0),
                ("energy_export", 20.0),
            ):
                simulator.set(1, name, value)
            gateway = gateway_at(simulator)
            meters = tuple(
                replace(meter, model=inverted(MODEL), inverted=True) for meter in gateway.meters
            )
            async with polling(replace(gateway, meters=meters)) as (_, received):
                await until(lambda: received.readings)
            [values, *_] = received.of("1")
            assert values["power"] == -1200
            assert values["power_l1"] == -400
            assert values["power_factor"] == -0.9
            assert values["phase_angle"] == -155
            assert values["current_l1"] == 2.0
            assert (values["energy_import"], values["energy_export"]) == (20, 1000)
            assert values["energy"] == 20

    asyncio.run(story())


@pytest.mark.parametrize("name", MODELS)
def test_turning_a_model_round_twice_changes_nothing_that_has_a_counterpart(name: str) -> None:
    model = MODELS[name]

    twice = inverted(inverted(model)).registers

    kept = {key: at for key, at in model.registers.items() if key != "power_demand_max"}
    assert dict(twice) == kept
    assert inverted(model).registers["energy"] == model.registers["energy_export"]


def test_what_bears_a_sign_is_in_the_catalogue() -> None:
    names = {quantity.name for quantity in QUANTITIES}

    assert names >= SIGNED | ANGLES
    assert turned({"voltage": 230.0, "current": 5.0}) == {"voltage": 230.0, "current": 5.0}


def test_a_voltage_above_the_settings_limit_is_left_out_and_reported() -> None:
    gate = Gate(max_voltage_v=260)
    values = {"voltage_l1": 261.0, "voltage_l1_l2": 420.0, "voltage_l2": 230.0}

    verdict = gate.judge(values, values, 0.0)

    assert verdict.values == {"voltage_l1_l2": 420.0, "voltage_l2": 230.0}
    assert "out of range: voltage_l1 (261 V)" in verdict.events[0]
