"""The simulated meters: consistent values, the maker's rules, the time on the wire."""

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from contract.quantities import BY_NAME, ENERGY, POWER_FACTOR, VOLTAGE, Kind, Quantity
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import Layout
from gateway_bridge.models import MODELS
from gateway_bridge.models.model import Register
from simulator import LineTiming, Simulator
from simulator.device import SimulatedMeter
from tests.support.modbus import Master, floats, tcp

NO_WIRE = LineTiming(baud=0, reply_timeout_s=0.05)
MONDAY_NOON = 1_773_662_400
MIDNIGHT = MONDAY_NOON - 12 * 3600


@pytest.fixture(scope="module")
def house() -> SimulatedMeter:
    return SimulatedMeter(1, MODELS["sdm630"])


def moments() -> Iterator[int]:
    """Yield a moment every twenty minutes of a day."""
    return iter(range(MIDNIGHT, MIDNIGHT + 86400, 1201))


@pytest.mark.parametrize("unit", [1, 2, 3, 4, 17])
def test_power_is_voltage_times_current_times_power_factor_on_every_phase(unit: int) -> None:
    meter = SimulatedMeter(unit, MODELS["sdm630"])

    for moment in moments():
        v = meter.measure(moment)
        for phase in ("l1", "l2", "l3"):
            power = v[f"voltage_{phase}"] * v[f"current_{phase}"] * v[f"power_factor_{phase}"]
            assert power == pytest.approx(v[f"power_{phase}"], abs=0.01)


def test_totals_are_the_sums_of_the_phases(house: SimulatedMeter) -> None:
    for moment in moments():
        v = house.measure(moment)
        for total in ("power", "reactive_power", "apparent_power", "current"):
            assert v[total] == pytest.approx(sum(v[f"{total}_l{n}"] for n in (1, 2, 3)))
        assert v["voltage"] == pytest.approx(sum(v[f"voltage_l{n}"] for n in (1, 2, 3)) / 3)
        assert v["energy_total"] == pytest.approx(v["energy_import"] + v["energy_export"])
        assert v["power_factor"] == pytest.approx(v["power"] / v["apparent_power"])


def test_apparent_reactive_power_and_angle_agree(house: SimulatedMeter) -> None:
    for moment in moments():
        v = house.measure(moment)
        assert v["apparent_power_l2"] == pytest.approx(
            math.hypot(v["power_l2"], v["reactive_power_l2"])
        )
        assert math.cos(math.radians(v["phase_angle_l2"])) == pytest.approx(v["power_factor_l2"])


def test_line_to_line_voltage_is_root_three_of_the_phase_voltage(house: SimulatedMeter) -> None:
    v = house.measure(MONDAY_NOON)

    assert v["voltage_ll"] == pytest.approx(math.sqrt(3) * v["voltage"], rel=0.01)


def test_the_house_exports_at_noon_and_imports_at_night(house: SimulatedMeter) -> None:
    noon, night = house.measure(MONDAY_NOON), house.measure(MIDNIGHT)

    assert noon["power"] < -1000
    assert noon["power_factor"] < 0
    assert night["power"] > 100


@pytest.mark.parametrize("netting", [False, True])
def test_counters_integrate_power_by_its_direction(netting: bool) -> None:
    house = SimulatedMeter(1, MODELS["sdm630"])
    house.netting = netting
    powers = ["power"] if netting else ["power_l1", "power_l2", "power_l3"]
    begin, end = MONDAY_NOON - 5 * 3600, MONDAY_NOON - 2 * 3600
    imported = exported = 0.0
    for moment in range(begin, end):
        values = house.measure(moment)
        imported += sum(max(values[name], 0) for name in powers)
        exported += sum(max(-values[name], 0) for name in powers)

    before, after = house.measure(begin), house.measure(end)

    assert imported > 3.6e5
    assert exported > 3.6e5
    assert after["energy_import"] - before["energy_import"] == pytest.approx(imported / 3.6e6)
    assert after["energy_export"] - before["energy_export"] == pytest.approx(exported / 3.6e6)


def test_a_meter_that_nets_its_phases_counts_less_in_both_directions() -> None:
    week_s = 7 * 86400
    counted = {}
    for netting in (False, True):
        meter = SimulatedMeter(1, MODELS["sdm630"])
        meter.netting = netting
        before, after = meter.measure(MIDNIGHT), meter.measure(MIDNIGHT + week_s)
        counted[netting] = {name: after[name] - before[name] for name in before if "energy" in name}

    for name in ("energy", "energy_import", "energy_export", "energy_total"):
        assert counted[True][name] < 0.97 * counted[False][name]
    for phase in ("energy_import_l1", "energy_export_l1", "reactive_energy_total_l1"):
        assert counted[True][phase] == counted[False][phase]
    net = {each: found["energy_import"] - found["energy_export"] for each, found in counted.items()}
    assert net[True] == pytest.approx(net[False])


def test_no_counter_ever_falls_not_even_over_midnight_and_week(house: SimulatedMeter) -> None:
    counters = [name for name in house.model.registers if BY_NAME[name].kind.counter]
    before = house.measure(MIDNIGHT - 90)

    for moment in [
        *range(MIDNIGHT - 89, MIDNIGHT + 90),
        *range(MIDNIGHT + 100, MIDNIGHT + 700_000, 997),
    ]:
        after = house.measure(moment)
        assert all(after[name] >= before[name] for name in counters)
        before = after


def test_a_restarted_simulator_continues_to_count(house: SimulatedMeter) -> None:
    again = SimulatedMeter(1, MODELS["sdm630"])

    assert again.measure(MONDAY_NOON) == house.measure(MONDAY_NOON)
    assert SimulatedMeter(1, MODELS["sdm630"], seed=2).measure(MONDAY_NOON) != house.measure(
        MONDAY_NOON
    )


def test_power_differs_from_second_to_second_and_from_meter_to_meter(house: SimulatedMeter) -> None:
    seen = {house.measure(MIDNIGHT + second)["power"] for second in range(60)}
    others = {SimulatedMeter(n, MODELS["sdm630"]).measure(MIDNIGHT)["power"] for n in range(1, 12)}

    assert len(seen) == 60
    assert len(others) == 11


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("unit", [1, 2, 3, 9])
def test_every_value_of_every_model_is_plausible(unit: int, model: str) -> None:
    meter = SimulatedMeter(unit, MODELS[model])

    for moment in range(MIDNIGHT, MIDNIGHT + 86400, 9001):
        values = meter.measure(moment)
        for name in meter.model.registers:
            kind = BY_NAME[name].kind
            assert kind.lowest <= values[name] <= kind.highest, name


@pytest.mark.parametrize(
    ("kind", "register"),
    [
        (Kind("°C", 1, "temperature", -50, 200), Register(0x01A0)),
        (Kind("°C", 1, "temperature", -50, 5), Register(0x01A0, "int16", 10)),
        (Kind("m³", 2, "water", 0, 1e6, counter=True), Register(0x01A0)),
        (Kind("m³", 2, "water", 0, 10, counter=True), Register(0x01A0)),
        (VOLTAGE, Register(0x01A0)),
        (ENERGY, Register(0x01A0, "int64", 1000)),
        (POWER_FACTOR, Register(0x01A1, "int16", 1000)),
    ],
)
def test_a_new_row_of_the_catalogue_and_its_register_are_simulated_without_an_edit(
    kind: Kind, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BY_NAME, "novelty", Quantity("novelty", "Novelty", kind))
    sdm630 = MODELS["sdm630"]
    registers = {**sdm630.registers, "novelty": register}
    model = replace(sdm630, registers=registers, alignment=1)
    meter = SimulatedMeter(1, model)

    read = [meter.measure(moment)["novelty"] for moment in moments()]

    assert all(kind.lowest <= value <= kind.highest for value in read)
    assert not kind.counter or read == sorted(read)
    assert kind.unit != "V" or all(220 < value < 240 for value in read)

    async def story() -> bytes:
        simulator = Simulator((1,), models={1: model}, timing=NO_WIRE)
        async with simulator, Master(simulator.port) as master:
            for fault in ("counter-back", "jump", "counter-zero", "nan", "inf", "zero"):
                simulator.fault(1, fault)
                assert len(await master.ask(tcp(1, register.address, register.count))) > 9
            simulator.mend(1)
            simulator.set(1, "novelty", kind.lowest)
            return await master.ask(tcp(1, register.address, register.count))

    layout = Layout(Block(register.address, register.count), {"novelty": register})
    assert layout.decode(asyncio.run(story())[9:]) == {"novelty": pytest.approx(kind.lowest)}


@pytest.mark.parametrize("model", ["sdm120", "sdm230"])
def test_on_one_phase_voltage_current_and_power_factor_give_the_power(model: str) -> None:
    meter = SimulatedMeter(3, MODELS[model])

    for moment in moments():
        v = meter.measure(moment)
        assert v["power"] == pytest.approx(
            v["voltage"] * v["current"] * v["power_factor"], abs=0.01
        )
        assert v["energy_total"] == pytest.approx(v["energy_import"] + v["energy_export"])


def test_the_manuals_own_example_is_answered_byte_for_byte() -> None:
    async def story() -> bytes:
        async with Simulator(framing="rtu", timing=NO_WIRE) as simulator:
            simulator.set(1, "voltage_l1", 230.20001220703125)
            async with Master(simulator.port) as master:
                return await master.ask(bytes.fromhex("01 04 00 00 00 02 71 CB"))

    assert asyncio.run(story()) == bytes.fromhex("01 04 04 43 66 33 34 1B 38")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (tcp(1, 0, 2, function=6), 1),
        (tcp(1, 0, 2, function=16), 1),
        (tcp(1, 0, 2, function=1), 1),
        (tcp(1, 1, 2), 2),
        (tcp(1, 0, 3), 2),
        (tcp(1, 0, 82), 2),
        (tcp(1, 0x006A, 4), 2),
        (tcp(1, 0x00A0, 2), 2),
        (tcp(1, 0x017C, 4), 2),
        (tcp(1, 0, 0), 3),
        (tcp(1, 0xFC02, 2, function=3), 2),
    ],
    ids=[
        "write one", "write many", "coils", "odd start", "odd count", "over 80 registers",
        "over the end of a block", "between the blocks", "after the last", "no register",
        "holding register that is not there",
    ],
)  # fmt: skip
def test_requests_that_the_manual_forbids_are_refused(request_: bytes, code: int) -> None:
    answer = asyncio.run(_asked(request_))

    assert answer == bytes([0, 1, 0, 0, 0, 3, 1, request_[7] | 0x80, code])


def test_80_registers_are_read_at_once_and_holes_read_as_zero() -> None:
    values = floats(asyncio.run(_asked(tcp(1, 0, 80))))

    assert len(values) == 40
    assert values[22] == 0.0
    assert 49.9 < values[35] < 50.1


def test_holding_registers_contain_serial_number_and_system_type() -> None:
    serial = asyncio.run(_asked(tcp(2, 0xFC00, 2, function=3)))
    system = asyncio.run(_asked(tcp(2, 0x000A, 2, function=3)))

    assert int.from_bytes(serial[9:], "big") > 20_000_000
    assert floats(system) == (3.0,)


def test_low_first_word_order_swaps_the_registers_of_every_value() -> None:
    async def story() -> bytes:
        async with Simulator(word_order="low-first", timing=NO_WIRE) as simulator:
            simulator.set(1, "voltage_l1", 230.2)
            async with Master(simulator.port) as master:
                volts = await master.ask(tcp(1, 0, 2))
                return volts[9:] + (await master.ask(tcp(1, 0x0028, 2, function=3)))[9:]

    # 230.2, and the 2141.0 by which a meter shows its register order
    assert asyncio.run(story()) == bytes.fromhex("33 33 43 66 D0 00 45 05")


@pytest.mark.parametrize(("absent", "answer"), [
    ("silent", b""), ("exception", bytes([0, 1, 0, 0, 0, 3, 9, 0x84, 0x0B])),
])  # fmt: skip
def test_a_gateway_is_silent_or_answers_an_exception_for_an_absent_unit_id(
    absent: str, answer: bytes
) -> None:
    async def story() -> bytes:
        simulator = Simulator(timing=NO_WIRE, absent=absent)  # type: ignore[arg-type]
        async with simulator, Master(simulator.port) as master:
            return await master.ask(tcp(9, 0, 2), timeout_s=0.2)

    assert asyncio.run(story()) == answer


def test_a_pinned_register_stays_until_it_is_cleared() -> None:
    async def story() -> list[float]:
        async with Simulator(timing=NO_WIRE) as simulator, Master(simulator.port) as master:
            simulator.set(1, "power", 4711)
            pinned = floats(await master.ask(tcp(1, 0x0034, 2)))
            simulator.clear(1, "power")
            return [*pinned, *floats(await master.ask(tcp(1, 0x0034, 2)))]

    pinned, free = asyncio.run(story())

    assert pinned == 4711
    assert free != 4711


@pytest.mark.parametrize(("baud", "registers", "milliseconds"), [
    (9600, 74, 231), (19200, 74, 146), (38400, 74, 103), (9600, 2, 81), (38400, 2, 65),
])  # fmt: skip
def test_a_read_takes_the_time_of_the_line_model(
    baud: int, registers: int, milliseconds: int
) -> None:
    assert LineTiming(baud).read_s(registers) * 1000 == pytest.approx(milliseconds, abs=0.7)


def test_clients_share_one_line_and_wait_for_each_other() -> None:
    timing = LineTiming(38400, turnaround_s=0.010, pause_s=0.005)

    async def reads(port: int) -> None:
        async with Master(port) as master:
            for _ in range(5):
                assert await master.ask(tcp(1, 0, 80))

    async def story() -> tuple[float, float]:
        async with Simulator(timing=timing) as simulator:
            begin = time.monotonic()
            await asyncio.gather(reads(simulator.port), reads(simulator.port))
            return time.monotonic() - begin, simulator.statistics.busy_s

    passed_s, busy_s = asyncio.run(story())

    assert busy_s == pytest.approx(10 * timing.read_s(80))
    assert passed_s > 0.99 * (busy_s - timing.pause_s)


def test_statistics_count_requests_answers_and_exceptions() -> None:
    async def story() -> Simulator:
        async with Simulator(timing=NO_WIRE) as simulator, Master(simulator.port) as master:
            await master.ask(tcp(2, 0, 2))
            await master.ask(tcp(2, 1, 2))
            await master.ask(tcp(9, 0, 2), timeout_s=0.1)
            return simulator

    statistics = asyncio.run(story()).statistics

    assert (statistics.requests, statistics.answers) == ({2: 2, 9: 1}, {2: 1})
    assert statistics.exceptions == {2: 1}
    assert [(s.unit, s.address, s.count) for s in statistics.served] == [(2, 0, 2)]


def test_an_unfinished_rtu_frame_is_dropped_after_a_silence() -> None:
    async def story() -> bytes:
        simulator = Simulator(framing="rtu", timing=NO_WIRE)
        async with simulator, Master(simulator.port) as master:
            assert await master.ask(b"\x01\x04\x00", timeout_s=0.1) == b""
            return await master.ask(bytes.fromhex("01 04 00 00 00 02 71 CB"))

    assert len(asyncio.run(story())) == 9


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_invalid_bytes_do_not_affect_the_next_client(framing: str) -> None:
    request = bytes.fromhex("01 04 00 00 00 02 71 CB") if framing == "rtu" else tcp(1, 0, 2)

    async def story() -> bytes:
        async with Simulator(framing=framing, timing=NO_WIRE) as simulator:  # type: ignore[arg-type]
            async with Master(simulator.port) as master:
                await master.ask(b"GET / HTTP/1.1\r\n\r\n", timeout_s=0.1)
                await master.ask(b"\xff" * 700, timeout_s=0.1)
            async with Master(simulator.port) as master:
                return await master.ask(request)

    assert asyncio.run(story())


async def _asked(request: bytes) -> bytes:
    async with Simulator(timing=NO_WIRE) as simulator, Master(simulator.port) as master:
        return await master.ask(request)
