"""`doctor` on a simulated site with one fault: its output and exit code."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway_bridge.models import MODELS
from simulator.bus import LineTiming
from tests.support.onsite import EVENING_S, Result, Site, command
from tests.support.parts import Part, free_port, listens, wait_until

FAST_LINE = LineTiming(baud=38_400, turnaround_s=0.002, pause_s=0.002, reply_timeout_s=0.1)
"""The fastest real line: anything faster comes from a cache."""


@pytest.fixture(scope="module")
def tcp() -> Iterator[Site]:
    """Two meters behind a gateway that uses Modbus TCP."""
    with Site(units=(1, 2), timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        yield site


@pytest.fixture(scope="module")
def rtu() -> Iterator[Site]:
    """One meter behind a transparent gateway."""
    with Site(units=(1,), timing=FAST_LINE, framing="rtu", clock=lambda: EVENING_S) as site:
        yield site


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Result]:
    """Run the doctor on a site, without the broker."""

    def run(site: Site, *words: str, **settings: str) -> Result:
        try:
            return command(
                "doctor", "--at", site.address, "--no-broker", "--watch", "0.1", *words,
                directory=tmp_path, **{"MODBUS_BAUD": "38400", "MODBUS_TIMEOUT": "0.3"} | settings,
            )  # fmt: skip
        finally:
            site.mend()

    return run


def test_a_sound_site_has_no_faults(tcp: Site, doctor: Callable[..., Result]) -> None:
    result = doctor(tcp, "--units", "1,2")

    assert result.code == 0, result.output
    for text in (
        "accepts connections",
        "the gateway uses Modbus TCP",
        "the gateway serves several clients",
        "unit 2 responds: SDM630-Modbus V2, serial number 21001043, 3p4w",
        "no faults",
    ):
        assert text in result.text
    assert "warning" not in result.text


GATEWAY_FAULTS = {
    "refuse": "refuses connections → look up the port on the gateway's web page",
    "accept-reset": "closes them again: another client uses the only connection that it allows",
    "silent": "there is no response in Modbus TCP or RTU over TCP",
    "protocol": "bytes arrive, but no valid response",
    "wrong-unit": "the gateway returns responses of another unit than requested",
    "cache": "the gateway responds from its memory → turn off its storage function",
    "queue-full": "the gateway reports that it is busy → stop other clients",
}


@pytest.mark.parametrize("fault", GATEWAY_FAULTS)
def test_a_fault_of_the_gateway_is_reported_with_its_remedy(
    fault: str, tcp: Site, doctor: Callable[..., Result]
) -> None:
    tcp.fault(None, fault, *([0] if fault == "queue-full" else []))

    result = doctor(tcp, "--units", "1")

    assert GATEWAY_FAULTS[fault] in result.text
    assert result.code == 1


METER_FAULTS = {
    2: ("dead", "unit 2 does not respond, while others on this line do"),
    3: ("exception", "responds, but rejects its first register: exception 2 (illegal address)"),
    4: ("nan", "of its values are not numbers: voltage_l1"),
    5: ("zero", "returns only zeros"),
    6: ("reversed-ct", "L1 appears to export"),
    10: ("swapped-cts", "L1 and L2 are swapped"),
}


def test_the_fault_of_each_meter_is_reported_and_a_sound_meter_is_ok(
    doctor: Callable[..., Result],
) -> None:
    with Site(units=(1, *METER_FAULTS), timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        for unit, (name, _) in METER_FAULTS.items():
            site.fault(unit, name)
        result = doctor(site, "--units", "1-6,10", MODBUS_TIMEOUT="1")  # even on a busy machine

    for unit, (_, text) in METER_FAULTS.items():
        assert f"fault meter {unit} {text}" in result.text.replace(" 86 of its", " of its")
    assert "ok meter 1 unit 1 responds" in result.text
    assert "6 faults" in result.text
    assert result.code == 1


def test_two_meters_with_one_unit_id_are_found_by_their_serial_numbers(
    tcp: Site, doctor: Callable[..., Result]
) -> None:
    tcp.fault(2, "twin")

    result = doctor(tcp, "--units", "1,2")

    assert "two meters have the unit id 2" in result.text
    assert result.code == 1


def test_a_gateway_for_one_client_is_a_warning(tcp: Site, doctor: Callable[..., Result]) -> None:
    tcp.fault(None, "client-limit", 1)

    result = doctor(tcp, "--units", "1")

    assert "warning clients the gateway serves one client at a time" in result.text
    assert result.code == 0


def test_another_client_on_the_only_connection_is_reported(
    tcp: Site, doctor: Callable[..., Result]
) -> None:
    tcp.fault(None, "client-limit", 1)
    with socket.create_connection(("127.0.0.1", tcp.simulator.port)):
        wait_until(lambda: len(tcp.simulator.gateway.clients) == 1)
        result = doctor(tcp, "--units", "1")

    assert "uses the only connection that it allows → stop other clients" in result.text
    assert result.code == 1


def test_a_response_after_the_timeout_is_reported_with_a_longer_timeout(
    tcp: Site, doctor: Callable[..., Result]
) -> None:
    tcp.fault(None, "late", 0.8)

    result = doctor(tcp, "--units", "1")

    found = re.search(r"unit 1 responds only after (\S+) s.*set MODBUS_TIMEOUT=(\S+)", result.text)
    assert found
    after_s, timeout_s = map(float, found.groups())
    assert after_s >= 0.8
    assert timeout_s - after_s == pytest.approx(0.5, abs=0.11)
    assert result.code == 1


def test_a_baud_rate_that_differs_from_the_settings_is_a_warning(
    tmp_path: Path,
) -> None:
    timing = LineTiming(baud=19_200, turnaround_s=0.005, pause_s=0.005)
    with Site(units=(1,), timing=timing, clock=lambda: EVENING_S) as site:
        result = command(
            "doctor", "--at", site.address, "--no-broker", "--watch", "0.1", directory=tmp_path
        )

    assert "the line runs at about 19200 baud, but the settings say 9600" in result.text
    assert result.code == 0


def test_a_transparent_gateway_is_detected(rtu: Site, doctor: Callable[..., Result]) -> None:
    result = doctor(rtu)

    assert "the gateway is transparent: it uses RTU over TCP" in result.text
    assert result.code == 0


def test_a_wrong_framing_in_the_settings_is_a_fault_with_the_right_setting(
    rtu: Site, doctor: Callable[..., Result]
) -> None:
    result = doctor(rtu, "--framing", "tcp")

    assert "the gateway uses RTU over TCP, but the settings say Modbus TCP" in result.text
    assert "set MODBUS_FRAMING=rtu" in result.text
    assert result.code == 1


def test_damaged_responses_point_to_baud_rate_and_parity(
    rtu: Site, doctor: Callable[..., Result]
) -> None:
    rtu.fault(1, "bad-crc")

    result = doctor(rtu)

    assert "the baud rate or parity of the gateway and the meters differ" in result.text
    assert "stop bits in each meter's menu" in result.text
    assert result.code == 1


def test_another_model_than_in_the_settings_is_reported(tmp_path: Path) -> None:
    with Site(units=(1,), models={1: MODELS["sdm72v2"]}, timing=FAST_LINE) as site:
        result = command("doctor", "--at", site.address, "--no-broker", directory=tmp_path)

    assert "is an SDM72D-M v2, but the settings say SDM630-Modbus V2" in result.text
    assert "model = 'sdm72v2'" in result.text
    assert result.code == 1


@pytest.mark.parametrize("model", ["sdm120", "sdm230"])
def test_a_meter_of_three_phases_in_place_of_one_of_one_phase_is_reported(
    model: str, tcp: Site, doctor: Callable[..., Result]
) -> None:
    result = doctor(tcp, "--units", "1", "--model", model)

    assert "V on L2, but an SDM" in result.text
    assert "has one phase only → set its model in meters.toml" in result.text
    assert result.code == 1


def test_swapped_meters_are_found_by_their_serial_numbers(tcp: Site, tmp_path: Path) -> None:
    (tmp_path / "meters.toml").write_text(
        f'[[gateway]]\naddress = "{tcp.address}"\nbaud = 38400\n'
        '[[gateway.meter]]\nunit = 1\nid = "hall"\nserial = 21001043\n'
        '[[gateway.meter]]\nunit = 2\nid = "office"\nserial = 21001026\n'
    )

    result = command("doctor", "--no-broker", "--watch", "0.1", directory=tmp_path)

    assert "fault meter hall has the serial number 21001026, but the settings say" in result.text
    assert "fault meter office has the serial number 21001043" in result.text
    assert "two unit ids may be swapped" in result.text
    assert result.code == 1


def test_a_meter_of_one_phase_is_sound(doctor: Callable[..., Result]) -> None:
    one_phase = {1: MODELS["sdm120"], 2: MODELS["sdm230"]}
    with Site(units=(1, 2), models=one_phase, timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        for unit, model in one_phase.items():
            result = doctor(site, "--units", str(unit), "--model", model.name)
            assert f"unit {unit} responds: {model.title}" in result.text
            assert result.code == 0


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("there-is-no-such-host.invalid", "unknown host name → check the spelling"),
        ("127.0.0.1:1", "refuses connections"),
        ("serial:///dev/ttyNONE", "does not exist; check that the adapter is plugged in"),
    ],
)
def test_an_unreachable_gateway_is_reported(address: str, text: str, tmp_path: Path) -> None:
    result = command("doctor", "--at", address, "--no-broker", directory=tmp_path)

    assert text in result.text
    assert result.code == 1


def test_a_line_on_a_serial_adapter_is_checked(tmp_path: Path) -> None:
    with Site(units=(1,), framing="rtu", timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        site.do(lambda simulator: simulator.open_serial(tmp_path / "line"))
        result = command(
            "doctor", "--at", f"serial://{tmp_path}/line?baud=38400", "--no-broker",
            "--watch", "0.1", directory=tmp_path,
        )  # fmt: skip

    assert "a meter responds on the serial line" in result.text
    assert "unit 1 responds: SDM630-Modbus V2" in result.text
    assert result.code == 0


def test_the_broker_is_checked_and_a_running_bridge_is_reported(
    tcp: Site, tmp_path: Path, broker_port: int
) -> None:
    there = {"MODBUS_HOST": tcp.address, "MODBUS_BAUD": "38400"}
    with Part.module("gateway_bridge", directory=tmp_path, MQTT_PORT=broker_port, **there) as part:
        part.wait_for("online")
        result = command(
            "doctor", "--watch", "0.1", directory=tmp_path, MQTT_PORT=str(broker_port), **there
        )

    assert f"the broker at 127.0.0.1:{broker_port} accepts the connection" in result.text
    assert "the bridge 'gateway' is running → stop it" in result.text
    assert result.code == 0


def test_a_missing_broker_is_a_fault(tcp: Site, tmp_path: Path) -> None:
    port = free_port()
    assert not listens(port)

    result = command(
        "doctor", "--at", tcp.address, "--watch", "0.1", directory=tmp_path,
        MQTT_PORT=str(port), MODBUS_BAUD="38400",
    )  # fmt: skip

    assert f"fault broker 127.0.0.1:{port}: connection refused" in result.text
    assert result.code == 1


def test_counters_that_follow_another_ratio_are_found_over_time(tmp_path: Path) -> None:
    """The simulated time runs a hundred times faster, and so does the energy."""
    began_s = time.time()

    def hurried() -> float:
        return EVENING_S + 100 * (time.time() - began_s)

    with Site(units=(2,), timing=FAST_LINE, clock=hurried) as site:
        site.fault(2, "ct-ratio", 0.2)
        result = command(
            "doctor", "--at", site.address, "--units", "2", "--no-broker", "--watch", "1.5",
            directory=tmp_path, MODBUS_BAUD="38400",
        )  # fmt: skip

    assert "the counters counted" in result.text
    assert "compare the current transformer ratio in the meter's menu" in result.text
    assert result.code == 1


def test_the_result_as_json(tcp: Site, doctor: Callable[..., Result]) -> None:
    tcp.fault(2, "dead")

    result = doctor(tcp, "--units", "1,2", "--json")

    outcome = json.loads(result.output)
    assert set(outcome) == {"ok", "faults", "warnings", "findings"}
    assert (outcome["ok"], outcome["faults"], outcome["warnings"]) == (False, 1, 0)
    assert all(
        set(each) == {"gateway", "step", "level", "text", "remedy"} for each in outcome["findings"]
    )
    assert [each["step"] for each in outcome["findings"] if each["level"] == "fault"] == ["meter 2"]
    assert all(each["gateway"] == tcp.address for each in outcome["findings"])


def test_settings_without_a_gateway_are_reported(tmp_path: Path) -> None:
    result = command("doctor", directory=tmp_path)

    assert "no gateway is configured; use --at 192.168.1.100:502" in result.errors
    assert result.code == 2
