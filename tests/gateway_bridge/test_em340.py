"""A meter of another maker: integers of 16 and 32 bits, low word first, from the wire to MQTT."""

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract.quantities import BY_NAME
from gateway_bridge.models import MODELS
from gateway_bridge.models.inversion import inverted
from simulator import LineTiming, Simulator
from tests.support.modbus import Master, tcp
from tests.support.onsite import EVENING_S, Site, command
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient
from tests.support.polling import gateway_at, polling, until

EM340 = MODELS["em340"]
INSTANT = LineTiming(baud=0, reply_timeout_s=0.05)
FAST_LINE = LineTiming(baud=38_400, turnaround_s=0.002, pause_s=0.002, reply_timeout_s=0.1)
PINNED = {
    "voltage_l1": 231.5, "current_l2": 16.789, "power": -4321.5, "power_l3": -70_000.1,
    "power_factor": -0.985, "power_factor_l2": 0.7, "frequency": 49.9,
    "energy_import": 12_345_678.9, "energy_export": 65_535.9, "power_demand_max": 6553.6,
}  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A simulated EM340 as a process: its Modbus port, its control port."""
    port, control = free_port(), free_port()
    arguments = ("--port", str(port), "--control", str(control), "--units", "1:em340", "--baud=0")
    with Part.module("simulator", *arguments, directory=tmp_path / "simulator"):
        wait_until(lambda: listens(port) and listens(control), what="the simulator")
        with socket.create_connection(("127.0.0.1", control), timeout=30) as connection:
            for name, value in PINNED.items():
                connection.sendall(f"set 1 {name} {value}\n".encode())
                assert connection.recv(100) == b"ok\n"
        yield port, control


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """An EM340 and an SDM630 on one line."""
    with Site(units=(1, 2), models={1: EM340}, timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        yield site


@pytest.mark.parametrize("function", ["3", "4"])
def test_mbpoll_reads_integers_low_word_first_where_its_manual_has_it(
    program: tuple[int, int], function: str
) -> None:
    """Mbpoll's usual order is the less significant register first; addresses from the manual."""
    port, _ = program

    def int32(address: int) -> int:
        return _mbpoll(port, "-t", f"{function}:int", "-r", str(address))[0]

    assert int32(0x0000) == 2315
    assert int32(0x000E) == 16_789
    assert int32(0x0028) == -43_215
    assert int32(0x0016) == -700_001
    assert int32(0x0034) == 123_456_789
    assert int32(0x004E) == 655_359
    assert int32(0x003A) == 65_536
    assert _mbpoll(port, "-t", function, "-r", str(0x002F), "-c", "5") == [
        700, *_any(1), 65_536 - 985, *_any(1), 499,
    ]  # fmt: skip
    assert _mbpoll(port, "-t", f"{function}:hex", "-r", str(0x004E), "-c", "2") == [0xFFFF, 0x0009]


def test_mbpoll_reads_who_the_meter_is(program: tuple[int, int]) -> None:
    port, _ = program

    assert _mbpoll(port, "-t", "3", "-r", str(0x000B)) == [341]
    assert _mbpoll(port, "-t", "4", "-r", str(0x1002)) == [0]
    serial = _mbpoll(port, "-t", "4:hex", "-r", str(0x5000), "-c", "7")
    assert b"".join(word.to_bytes(2, "big") for word in serial) == b"21001026".ljust(14, b"\0")


def test_the_bridge_publishes_what_an_em340_measures(
    program: tuple[int, int], tmp_path: Path, broker_port: int
) -> None:
    directory = tmp_path / "bridge"
    directory.mkdir()
    (directory / "meters.toml").write_text(
        f'[[gateway]]\naddress = "127.0.0.1:{program[0]}"\nquantities = ["all"]\n'
        '[[gateway.meter]]\nunit = 1\nmodel = "em340"\n'
    )
    settings = {"MQTT_PORT": broker_port, "POLL_INTERVAL": 0.2, "SLOW_INTERVAL": 0.2}
    with (
        PlainClient(broker_port) as client,
        Part.module("gateway_bridge", directory=directory, **settings) as part,
    ):
        client.subscribe("meters/1/+")

        def last(topic: str) -> dict[str, object]:
            found = [m.payload for m in client.messages if m.topic == f"meters/1/{topic}"]
            return dict(json.loads(found[-1])) if found else {}

        wait_until(lambda: last("reading").keys() >= PINNED.keys(), what="a full reading")
        reading, info = last("reading"), last("info")
        wait_until(lambda: last("info").get("serial"), what="its serial number")

    assert {name: reading[name] for name in PINNED} == PINNED
    assert reading["energy"] == PINNED["energy_import"]
    currents = sum(float(str(reading[f"current_l{n}"])) for n in (1, 2, 3))
    assert reading["current"] == pytest.approx(currents, abs=0.002)
    for name in EM340.registers:
        assert BY_NAME[name].kind.lowest <= float(str(reading[name])) <= BY_NAME[name].kind.highest
    assert info["manufacturer"], info["model"] == ("Carlo Gavazzi", "EM340")
    assert "held back" not in part.output


def test_nothing_is_published_of_an_em340_that_is_configured_as_another_model() -> None:
    async def run() -> None:
        simulator = Simulator((1,), models={1: EM340}, timing=INSTANT)
        async with simulator, polling(gateway_at(simulator)) as (poller, received):
            await until(lambda: poller.meters["1"].state.held > 200)

            assert received.readings == []
            assert not poller.meters["1"].state.online
            assert "check its model in the settings" in " ".join(poller.meters["1"].state.events)

    asyncio.run(run())


def test_an_em340_is_asked_nothing_that_it_lacks_and_no_more_than_50_registers() -> None:
    async def story() -> None:
        async with Simulator((1,), models={1: EM340}, timing=INSTANT) as simulator:
            gateway = gateway_at(simulator, quantities=tuple(EM340.registers))
            meters = tuple(replace(meter, model=EM340) for meter in gateway.meters)
            async with polling(replace(gateway, meters=meters)) as (poller, received):
                await until(lambda: len(received.readings) > 3)
                meter = poller.meters["1"]
                assert (meter.state.serial, meter.wiring) == ("21001026", "3p4w")
                assert meter.low_word_first
            assert simulator.statistics.exceptions == {}
            assert all(served.count <= 50 for served in simulator.statistics.served)

    asyncio.run(story())


def test_an_em340_that_refuses_long_requests_is_read_in_shorter_ones() -> None:
    async def story() -> None:
        async with Simulator((1,), models={1: EM340}, timing=INSTANT) as simulator:
            simulator.fault(1, "limit", 20)
            gateway = gateway_at(simulator, quantities=tuple(EM340.registers), interval_s=0.05)
            meters = tuple(
                replace(meter, model=EM340, slow_interval_s=0.05) for meter in gateway.meters
            )
            async with polling(replace(gateway, meters=meters)) as (_, received):
                everything = set(EM340.registers)
                await until(lambda: any(set(r) == everything for r in received.of("1")))

    asyncio.run(story())


def test_a_value_that_the_meter_shows_as_eee_is_not_published() -> None:
    async def story() -> None:
        async with Simulator((1,), models={1: EM340}, timing=INSTANT) as simulator:
            simulator.set(1, "current_l1", 1e9)
            gateway = gateway_at(simulator)
            meters = tuple(replace(meter, model=EM340) for meter in gateway.meters)
            async with polling(replace(gateway, meters=meters)) as (_, received):
                await until(lambda: received.readings)
            reading = received.of("1")[0]
            assert not {"current_l1", "current"} & reading.keys()
            assert {"current_l2", "power", "voltage_l1"} <= reading.keys()

    asyncio.run(story())


def test_an_em340_fed_from_below_exports_what_it_counts_as_import() -> None:
    registers = inverted(EM340).registers

    assert registers["energy"] == registers["energy_import"] == EM340.registers["energy_export"]
    assert registers["energy_export_l2"] == EM340.registers["energy_import_l2"]


def test_single_and_odd_registers_are_answered_by_an_em340_and_refused_by_an_sdm630() -> None:
    async def story() -> tuple[bytes, bytes]:
        models = {1: EM340}
        async with (
            Simulator((1, 2), models=models, timing=INSTANT) as simulator,
            Master(simulator.port) as master,
        ):
            simulator.set(1, "frequency", 50)
            return await master.ask(tcp(1, 0x33, 1)), await master.ask(tcp(2, 0x33, 1))

    odd, refused = asyncio.run(story())

    assert odd[7:] == bytes.fromhex("04 02 01F4")
    assert refused[7:] == bytes.fromhex("84 02")


def test_a_scan_recognises_an_em340_beside_an_sdm630(site: Site, tmp_path: Path) -> None:
    result = command("scan", "--at", site.address, "--units", "1,2", "--json", directory=tmp_path)

    [gateway] = json.loads(result.output)["gateways"]
    first, second = gateway["meters"]
    assert (first["model"], first["serial"], first["wiring"]) == ("em340", "21001026", "3p4w")
    assert (second["model"], second["serial"]) == ("sdm630", "21001043")
    shown = command("scan", "--at", site.address, "--units", "1", directory=tmp_path)
    assert re.search(r"1 EM340 21001026 3p4w, low word first 2[23]\d\.\d V", shown.text)


def test_the_doctor_finds_nothing_wrong_with_an_em340(site: Site, tmp_path: Path) -> None:
    result = command(
        "doctor", "--at", site.address, "--units", "1", "--model", "em340", "--no-broker",
        "--watch", "0.1", directory=tmp_path, MODBUS_BAUD="38400",
    )  # fmt: skip

    assert "unit 1 responds: EM340, serial number 21001026, 3p4w" in result.text
    assert "no fault" in result.text


def test_the_doctor_says_where_an_em340_is_configured_as_another_model(
    site: Site, tmp_path: Path
) -> None:
    result = command(
        "doctor", "--at", site.address, "--units", "1", "--model", "sdm630", "--no-broker",
        "--watch", "0.1", directory=tmp_path, MODBUS_BAUD="38400",
    )  # fmt: skip

    assert "is an EM340, but the settings say SDM630-Modbus V2 → set model = 'em340'" in result.text
    assert result.code == 1


def test_the_doctor_doubts_a_meter_of_an_unknown_model_that_measures_no_voltage(
    tmp_path: Path,
) -> None:
    unknown = replace(EM340, code=9999)
    with Site(units=(1,), models={1: unknown}, timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        result = command(
            "doctor", "--at", site.address, "--units", "1", "--model", "sdm630", "--no-broker",
            "--watch", "0.1", directory=tmp_path, MODBUS_BAUD="38400",
        )  # fmt: skip

    assert "measures no voltage (0.0 V) → check the voltage" in result.text
    assert "the model in the settings" in result.text
    assert result.code == 1


def test_an_em340_is_read_once_for_a_person(site: Site, tmp_path: Path) -> None:
    result = command("read", "1", "--at", site.address, "--model", "em340", directory=tmp_path)

    assert "Meter 1: EM340, serial number 21001026, wiring 3p4w" in result.text
    assert re.search(r"Voltage 2[23]\d\.\d+( 2[23]\d\.\d+){3} V", result.text)
    assert re.search(r"Frequency \d\d\.\d00 Hz", result.text)


def test_read_says_where_the_meter_reports_another_model(site: Site, tmp_path: Path) -> None:
    result = command("read", "1", "--at", site.address, directory=tmp_path)
    as_json = command("read", "1", "--at", site.address, "--json", directory=tmp_path)

    assert "The meter is an EM340, but was read as an SDM630-Modbus V2: set" in result.text
    assert json.loads(as_json.output)["reported_model"] == "em340"
    assert (result.code, as_json.code) == (1, 1)


def _any(count: int) -> list[int]:
    return [_Anything()] * count


class _Anything(int):
    """Equal to every number."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def _mbpoll(port: int, *arguments: str) -> list[int]:
    output = subprocess.run(
        [require("mbpoll"), "-m", "tcp", "-p", str(port), "-1", "-0", "-a", "1", *arguments,
         "127.0.0.1"],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    return [int(value, 0) for value in re.findall(r"\[\d+\]:\s+(\S+)", output)]
