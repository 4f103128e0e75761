"""The output and exit codes of `scan`, `read` and `plan`."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_bridge.models import METER_CODES, MODELS
from simulator.bus import LineTiming
from tests.support.onsite import EVENING_S, Site, command
from tests.support.parts import ROOT, wait_until

INSTANT = LineTiming(baud=0, reply_timeout_s=0.05)


@pytest.fixture(scope="module")
def tcp() -> Iterator[Site]:
    """Three meters of different models behind a Modbus TCP gateway."""
    models = {7: MODELS["sdm72v2"], 9: MODELS["sdm120"]}
    with Site(units=(2, 7, 9), models=models, timing=INSTANT, clock=lambda: EVENING_S) as site:
        yield site


@pytest.fixture(scope="module")
def rtu() -> Iterator[Site]:
    """A meter that sends the low word first, behind a transparent gateway."""
    with Site(
        units=(1,),
        timing=INSTANT,
        framing="rtu",
        word_order="low-first",
        clock=lambda: EVENING_S,
    ) as site:
        yield site


def test_a_scan_finds_and_identifies_every_meter(tcp: Site, tmp_path: Path) -> None:
    result = command(
        "scan", "--at", tcp.address, "--units", "1-12", "--timeout", "0.1", directory=tmp_path
    )

    assert f"{tcp.address} uses Modbus TCP" in result.text
    assert "2 SDM630-Modbus V2 21001043 3p4w" in result.text
    assert "7 SDM72D-M v2 21001128 3p4w" in result.text
    assert "9 not reported 21001162" in result.text
    assert result.code == 0


def test_a_scan_finds_the_framing_and_the_word_order(rtu: Site, tmp_path: Path) -> None:
    result = command(
        "scan", "--at", rtu.address, "--units", "1-3", "--timeout", "0.1", directory=tmp_path
    )

    assert f"{rtu.address} uses RTU over TCP" in result.text
    assert "1 SDM630-Modbus V2 21001026 3p4w, low word first 23" in result.text
    assert result.code == 0


def test_a_scan_finds_a_meter_that_responds_after_its_timeout(tcp: Site, tmp_path: Path) -> None:
    tcp.fault(2, "late", 0.15, times=1)

    result = command(
        "scan", "--at", tcp.address, "--units", "1-5", "--timeout", "0.1", "--framing", "tcp",
        directory=tmp_path,
    )  # fmt: skip

    assert "2 SDM630-Modbus V2" in result.text


def test_a_scan_of_a_gateway_for_one_client_works(tcp: Site, tmp_path: Path) -> None:
    tcp.fault(None, "client-limit", 1)

    result = command(
        "scan", "--at", tcp.address, "--units", "2", "--timeout", "0.1", directory=tmp_path
    )
    tcp.mend()

    assert "2 SDM630-Modbus V2" in result.text


@pytest.mark.parametrize("words", [["scan", "--units", "1-3", "--timeout", "0.1"], ["read", "1"]])
def test_another_client_on_the_only_connection_is_reported(
    words: list[str], tcp: Site, tmp_path: Path
) -> None:
    tcp.fault(None, "client-limit", 1)
    with socket.create_connection(("127.0.0.1", tcp.simulator.port)):
        wait_until(lambda: tcp.simulator.gateway.clients)
        result = command(*words, "--at", tcp.address, directory=tmp_path)
    tcp.mend()

    assert "check whether another client is connected" in result.errors
    assert result.code == 1


def test_a_scan_without_meters_is_reported(tcp: Site, tmp_path: Path) -> None:
    result = command(
        "scan", "--at", tcp.address, "--units", "20-22", "--timeout", "0.05", directory=tmp_path
    )

    assert "no meter responds at unit id 20 to 22; run `meterflow doctor`" in result.text
    assert result.code == 1


def test_the_result_of_a_scan_as_json(tcp: Site, tmp_path: Path) -> None:
    result = command(
        "scan", "--at", tcp.address, "--units", "7", "--timeout", "0.1", "--json",
        directory=tmp_path,
    )  # fmt: skip

    [gateway] = json.loads(result.output)["gateways"]
    [meter] = gateway["meters"]
    assert (gateway["address"], gateway["framing"]) == (tcp.address, "tcp")
    assert (meter["unit"], meter["model"], meter["serial"]) == (7, "sdm72v2", "21001128")
    assert set(meter) == {
        "unit", "framing", "model", "model_code", "serial", "wiring", "low_word_first",
        "voltage_l1", "response_ms",
    }  # fmt: skip


def test_a_scan_shows_its_progress_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    """On a terminal: a progress bar, and the meters found so far."""
    with Site(units=(1,), timing=INSTANT) as site:
        ours, theirs = os.openpty()
        words = ["scan", "--at", site.address, "--timeout", "0.2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway_bridge", *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)
        seen = ""
        while "unit 4" not in seen:
            assert select.select([ours], [], [], 15)[0], seen
            seen += os.read(ours, 4096).decode()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        os.close(ours)

    assert "%" in seen
    assert "Stopped after unit" in output
    assert "SDM630-Modbus V2" in output
    assert process.returncode == 130


def test_read_shows_values_with_their_units(tcp: Site, tmp_path: Path) -> None:
    result = command("read", "2", "--at", tcp.address, directory=tmp_path)

    lines = result.output.splitlines()
    assert lines[0] == "Meter 2: SDM630-Modbus V2, serial number 21001043, wiring 3p4w"
    assert lines[1] == f"unit 2 at {tcp.address}, Modbus TCP, one request"
    [volts] = [line.split() for line in lines if line.strip().startswith("Voltage ")]
    assert volts[-1] == "V"
    assert all(220 < float(value) < 240 for value in volts[1:-1])
    assert len(volts) == 6
    assert result.code == 0


def test_read_detects_the_word_order(rtu: Site, tmp_path: Path) -> None:
    result = command("read", "--at", rtu.address, "--json", directory=tmp_path)

    facts = json.loads(result.output)
    assert facts["framing"] == "rtu"
    assert facts["low_word_first"] is True
    assert facts["serial"] == "21001026"
    assert 49 < facts["values"]["frequency"] < 51


def test_read_uses_smaller_blocks_if_the_meter_requires_them(tcp: Site, tmp_path: Path) -> None:
    tcp.fault(2, "limit", 20)
    result = command("read", "2", "--at", tcp.address, directory=tmp_path)
    tcp.mend()

    assert "requests" in result.output.splitlines()[1]
    assert "Frequency" in result.output
    assert result.code == 0


def test_read_lists_values_that_are_not_numbers(tcp: Site, tmp_path: Path) -> None:
    tcp.fault(2, "nan")
    result = command(
        "read", "2", "--at", tcp.address, "--quantities", "frequency", directory=tmp_path
    )
    tcp.mend()

    assert "Not a number: voltage, current, power, energy, frequency" in result.text
    assert result.code == 1


def test_read_finds_a_meter_by_its_id_in_the_settings(tcp: Site, tmp_path: Path) -> None:
    (tmp_path / "meters.toml").write_text(
        f'[[gateway]]\naddress = "{tcp.address}"\n'
        '[[gateway.meter]]\nid = "pump"\nname = "Heat pump"\nunit = 2\ninvert = true\n'
        '[[gateway.meter]]\nid = "flat"\nunit = 9\nmodel = "sdm120"\n'
    )

    result = command("read", "pump", "--json", directory=tmp_path)
    plain = command("read", "2", "--at", tcp.address, "--json", directory=tmp_path)
    none = command("read", directory=tmp_path)

    inverted, upright = json.loads(result.output)["values"], json.loads(plain.output)["values"]
    assert inverted["power"] == -upright["power"]
    assert inverted["energy_export"] == upright["energy_import"]
    assert inverted["energy"] == upright["energy_export"]
    assert inverted["current_l1"] == upright["current_l1"]
    assert "no meter is given; the meters are pump, flat" in none.errors
    assert none.code == 2


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("read", "--at", "127.0.0.1:1"), "127.0.0.1:1: refuses the connection", 1),
        (("scan", "--at", "127.0.0.1:1"), "127.0.0.1:1: refuses the connection", 1),
        (("read", "--at", "no-such-host.invalid"), "unknown host name", 1),
        (("scan", "--at", "serial:///dev/ttyNONE"), "check that the adapter is plugged in", 1),
        (("read", "--at", "host:port"), "--at: port 'port' should be a number", 2),
        (("scan", "--at", "h", "--units", "0-3"), "unit ids are from 1 to 247", 2),
        (("scan", "--at", "h", "--timeout", "soon"), "should be 0.01 to 3600 seconds", 2),
        (("read", "300", "--at", "h"), "give the unit id of the meter, 1 to 247", 2),
        (("read", "--at", "h", "--quantities", "volts"), "--quantities: 'volts' is neither", 2),
        (("plan",), "no gateway is configured", 2),
        (("scn",), "unknown command 'scn'; did you mean scan?", 2),
    ],
)
def test_an_error_is_reported_with_its_exit_code(
    words: tuple[str, ...], text: str, code: int, tmp_path: Path
) -> None:
    result = command(*words, directory=tmp_path)

    assert text in result.errors
    assert result.code == code


def test_a_silent_gateway_points_to_the_doctor(tcp: Site, tmp_path: Path) -> None:
    tcp.fault(None, "silent")
    result = command("read", "2", "--at", tcp.address, directory=tmp_path, MODBUS_TIMEOUT="0.1")
    tcp.mend()

    assert "no response in Modbus TCP or RTU over TCP; run `meterflow doctor`" in (result.errors)
    assert result.code == 1


def test_a_plan_shows_the_requests_and_that_the_interval_can_be_kept(tmp_path: Path) -> None:
    result = command(
        "plan", "--at", "h", "--units", "1-3", directory=tmp_path, POLL_INTERVAL="1",
        QUANTITIES="all",
    )  # fmt: skip

    assert "gateway at h:502, 9600 baud" in result.text
    assert "1 SDM630-Modbus V2 1 s 0 to 75 76 33 236" in result.text
    assert "60 s 334 to 381" in result.text
    assert "Reading 3 meters takes 0.71 s, every 1 s" in result.text
    assert "The interval can be kept." in result.text
    assert result.code == 0


def test_a_command_asks_about_a_setting_whose_name_is_nearly_right(tmp_path: Path) -> None:
    result = command("plan", directory=tmp_path, MODBUS_HOST="192.0.2.1", METER_ID="1,2")

    assert "meterflow plan: setting METER_ID: unknown; did you mean METER_IDS?" in result.errors
    assert result.code == 0


def test_a_plan_that_cannot_be_kept_lists_remedies(tmp_path: Path) -> None:
    result = command("plan", "--at", "h", "--units", "1-8", directory=tmp_path, POLL_INTERVAL="1")

    assert "The interval cannot be kept" in result.text
    assert "each about every 1.9 s" in result.text
    assert "an interval of 2.1 s, or 38400 baud on the gateway and every meter" in result.text
    assert result.code == 1


def test_the_result_of_a_plan_as_json(tmp_path: Path) -> None:
    result = command("plan", "--at", "h", "--json", directory=tmp_path, QUANTITIES="core")

    [gateway] = json.loads(result.output)["gateways"]
    [meter] = gateway["meters"]
    assert gateway["keeps_interval"]
    assert [(block["address"], block["count"]) for block in meter["blocks"]] == [(0, 74)]


def keys(result: Any) -> set[str]:
    """Return the keys of a result and of the objects in it, without the names of quantities."""
    if isinstance(result, list):
        return {key for each in result for key in keys(each)}
    if not isinstance(result, dict):
        return set()
    inside = (keys(value) for key, value in result.items() if key != "values")
    return set(result).union(*inside)


@pytest.mark.parametrize(
    "words",
    [
        ("scan", "--units", "2", "--timeout", "0.1"),
        ("read", "2"),
        ("plan", "--units", "2"),
        ("doctor", "--units", "2", "--no-broker", "--watch", "0.1"),
    ],
)
def test_the_page_documents_every_key_of_the_json(
    words: tuple[str, ...], tcp: Site, tmp_path: Path
) -> None:
    page = (ROOT / "docs/site.md").read_text()

    result = command(*words, "--at", tcp.address, "--json", directory=tmp_path)

    found = keys(json.loads(result.output))
    assert found
    assert {key for key in found if f"`{key}`" not in page} == set()


def test_the_help_lists_the_commands(tmp_path: Path) -> None:
    result = command("--help", directory=tmp_path)

    for name in ("scan", "read", "plan", "doctor"):
        assert f"  {name} " in result.output
    assert "MODBUS_HOST" in result.output
    assert result.code == 0


def test_the_meter_codes_are_those_of_the_maker() -> None:
    assert METER_CODES[0xFC02, 0x0070] == "sdm630"
    assert METER_CODES[0xFC02, 0x0089] == "sdm72v2"
    assert "first series" in METER_CODES[0xFC02, 0x0084]


def test_a_scan_leaves_no_backlog_in_a_slow_gateway(tmp_path: Path) -> None:
    timing = LineTiming(baud=38_400, turnaround_s=0.002, pause_s=0.002, reply_timeout_s=0.4)
    with Site(units=(1,), timing=timing) as site:
        began_s = time.monotonic()
        result = command("scan", "--at", site.address, "--units", "1-8", directory=tmp_path)
        took_s = time.monotonic() - began_s
        read = command("read", "1", "--at", site.address, directory=tmp_path, MODBUS_TIMEOUT="0.2")

    assert "1 SDM630-Modbus V2" in result.text
    assert read.code == 0
    assert took_s < 7  # a second for each of seven absent units would be more
