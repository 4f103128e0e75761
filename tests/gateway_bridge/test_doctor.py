"""`doctor` on a simulated site with one thing wrong: what a person reads, and the exit code."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway_bridge.models import MODELS
from simulator.bus import LineTiming
from tests.support.onsite import EVENING_S, Said, Site, command
from tests.support.parts import Part, free_port, listens, wait_until

FAST_LINE = LineTiming(baud=38_400, turnaround_s=0.002, pause_s=0.002, reply_timeout_s=0.1)
"""As fast as a real line can be: an answer that is faster yet comes from a memory."""


@pytest.fixture(scope="module")
def tcp() -> Iterator[Site]:
    """Two meters behind a gateway that speaks Modbus TCP."""
    with Site(units=(1, 2), timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        yield site


@pytest.fixture(scope="module")
def rtu() -> Iterator[Site]:
    """One meter behind a transparent gateway."""
    with Site(units=(1,), timing=FAST_LINE, framing="rtu", clock=lambda: EVENING_S) as site:
        yield site


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Said]:
    """Runs the doctor on a site, without the broker."""

    def run(site: Site, *words: str, **settings: str) -> Said:
        try:
            return command(
                "doctor", "--at", site.address, "--no-broker", "--watch", "0.1", *words,
                directory=tmp_path, **{"MODBUS_BAUD": "38400", "MODBUS_TIMEOUT": "0.3"} | settings,
            )  # fmt: skip
        finally:
            site.mend()

    return run


def test_a_sound_site_gets_a_clean_bill(tcp: Site, doctor: Callable[..., Said]) -> None:
    said = doctor(tcp, "--units", "1,2")

    assert said.code == 0, said.output
    for text in (
        "accepts connections",
        "the gateway speaks Modbus TCP",
        "the gateway serves several clients",
        "unit 2 answers: SDM630-Modbus V2, serial number 21001043, 3p4w",
        "no fault",
    ):
        assert text in said.text
    assert "look" not in said.text


GATEWAY_FAULTS = {
    "refuse": "refuses connections → look up the port on the gateway's page",
    "accept-reset": "closes them again: another client holds the only one it serves",
    "silent": "nothing comes back, neither in Modbus TCP nor in RTU over TCP",
    "protocol": "bytes come back, but no right answer among them",
    "wrong-unit": "another unit answers than the one asked",
    "cache": "the gateway answers from its memory → switch its storage function off",
    "queue-full": "the gateway says that it is busy → stop other clients",
}


@pytest.mark.parametrize("fault", GATEWAY_FAULTS)
def test_a_fault_of_the_gateway_is_named_with_its_remedy(
    fault: str, tcp: Site, doctor: Callable[..., Said]
) -> None:
    tcp.fault(None, fault, *([0] if fault == "queue-full" else []))

    said = doctor(tcp, "--units", "1")

    assert GATEWAY_FAULTS[fault] in said.text
    assert said.code == 1


METER_FAULTS = {
    2: ("dead", "unit 2 does not answer, while others on this line do"),
    3: ("exception", "answers, but refuses its first register: exception 2 (illegal address)"),
    4: ("nan", "of its values are not numbers: voltage_l1"),
    5: ("zero", "answers nothing but zeros"),
    6: ("reversed-ct", "L1 seems to feed in"),
    10: ("swapped-cts", "L1 and L2 are swapped"),
}


def test_each_meters_fault_is_named_and_a_sound_neighbour_is_well(
    doctor: Callable[..., Said],
) -> None:
    with Site(units=(1, *METER_FAULTS), timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        for unit, (name, _) in METER_FAULTS.items():
            site.fault(unit, name)
        said = doctor(site, "--units", "1-6,10", MODBUS_TIMEOUT="1")  # however busy we are

    for unit, (_, text) in METER_FAULTS.items():
        assert f"fault meter {unit} {text}" in said.text.replace(" 86 of its", " of its")
    assert "ok meter 1 unit 1 answers" in said.text
    assert "6 faults" in said.text
    assert said.code == 1


def test_two_meters_with_one_unit_id_are_known_by_their_serial_numbers(
    tcp: Site, doctor: Callable[..., Said]
) -> None:
    tcp.fault(2, "twin")

    said = doctor(tcp, "--units", "1,2")

    assert "two meters have the unit id 2" in said.text
    assert said.code == 1


def test_a_gateway_for_one_client_is_worth_a_look(tcp: Site, doctor: Callable[..., Said]) -> None:
    tcp.fault(None, "client-limit", 1)

    said = doctor(tcp, "--units", "1")

    assert "look clients the gateway serves one client at a time" in said.text
    assert said.code == 0


def test_a_client_that_holds_the_only_connection_is_suspected(
    tcp: Site, doctor: Callable[..., Said]
) -> None:
    tcp.fault(None, "client-limit", 1)
    with socket.create_connection(("127.0.0.1", tcp.simulator.port)):
        wait_until(lambda: len(tcp.simulator.gateway.clients) == 1)
        said = doctor(tcp, "--units", "1")

    assert "another client holds the only one it serves → stop what else polls it" in said.text
    assert said.code == 1


def test_an_answer_that_comes_too_late_gets_a_longer_timeout(
    tcp: Site, doctor: Callable[..., Said]
) -> None:
    tcp.fault(None, "late", 0.8)

    said = doctor(tcp, "--units", "1")

    found = re.search(r"unit 1 answers only after (\S+) s.*set MODBUS_TIMEOUT=(\S+)", said.text)
    assert found
    after_s, timeout_s = map(float, found.groups())
    assert after_s >= 0.8
    assert timeout_s - after_s == pytest.approx(0.5, abs=0.11)
    assert said.code == 1


def test_a_baud_rate_that_differs_from_the_settings_is_worth_a_look(
    tmp_path: Path,
) -> None:
    timing = LineTiming(baud=19_200, turnaround_s=0.005, pause_s=0.005)
    with Site(units=(1,), timing=timing, clock=lambda: EVENING_S) as site:
        said = command(
            "doctor", "--at", site.address, "--no-broker", "--watch", "0.1", directory=tmp_path
        )

    assert "the line runs at about 19200 baud, the settings say 9600" in said.text
    assert said.code == 0


def test_a_transparent_gateway_is_recognised(rtu: Site, doctor: Callable[..., Said]) -> None:
    said = doctor(rtu)

    assert "the gateway is transparent: it speaks RTU over TCP" in said.text
    assert said.code == 0


def test_a_transparent_gateway_taken_for_modbus_tcp_is_a_fault_with_a_setting(
    rtu: Site, doctor: Callable[..., Said]
) -> None:
    said = doctor(rtu, "--framing", "tcp")

    assert "the gateway speaks RTU over TCP, the settings say Modbus TCP" in said.text
    assert "set MODBUS_FRAMING=rtu" in said.text
    assert said.code == 1


def test_damaged_answers_point_to_baud_rate_and_parity(
    rtu: Site, doctor: Callable[..., Said]
) -> None:
    rtu.fault(1, "bad-crc")

    said = doctor(rtu)

    assert "baud rate or parity of gateway and meters differ" in said.text
    assert "stop bits in each meter's menu" in said.text
    assert said.code == 1


def test_another_model_than_in_the_settings_is_told(tmp_path: Path) -> None:
    with Site(units=(1,), models={1: MODELS["sdm72v2"]}, timing=FAST_LINE) as site:
        said = command("doctor", "--at", site.address, "--no-broker", directory=tmp_path)

    assert "is an SDM72D-M v2, the settings say SDM630-Modbus V2" in said.text
    assert "model = 'sdm72v2'" in said.text
    assert said.code == 1


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("there-is-no-such-host.invalid", "there is no such host name → check the spelling"),
        ("127.0.0.1:1", "refuses connections"),
        ("serial:///dev/ttyNONE", "is not there; is the adapter plugged in?"),
    ],
)
def test_a_gateway_that_is_not_there_gets_a_sentence(
    address: str, text: str, tmp_path: Path
) -> None:
    said = command("doctor", "--at", address, "--no-broker", directory=tmp_path)

    assert text in said.text
    assert said.code == 1


def test_the_line_itself_is_examined_on_a_serial_adapter(tmp_path: Path) -> None:
    with Site(units=(1,), framing="rtu", timing=FAST_LINE, clock=lambda: EVENING_S) as site:
        site.do(lambda simulator: simulator.open_serial(tmp_path / "line"))
        said = command(
            "doctor", "--at", f"serial://{tmp_path}/line?baud=38400", "--no-broker",
            "--watch", "0.1", directory=tmp_path,
        )  # fmt: skip

    assert "a meter answers on the serial line" in said.text
    assert "unit 1 answers: SDM630-Modbus V2" in said.text
    assert said.code == 0


def test_the_broker_is_examined_and_a_bridge_that_runs_is_told(
    tcp: Site, tmp_path: Path, broker_port: int
) -> None:
    there = {"MODBUS_HOST": tcp.address, "MODBUS_BAUD": "38400"}
    with Part.module("gateway_bridge", directory=tmp_path, MQTT_PORT=broker_port, **there) as part:
        part.wait_for("online")
        said = command(
            "doctor", "--watch", "0.1", directory=tmp_path, MQTT_PORT=str(broker_port), **there
        )

    assert f"the broker at 127.0.0.1:{broker_port} lets us in" in said.text
    assert "the bridge 'gateway' is running → stop it" in said.text
    assert said.code == 0


def test_a_missing_broker_is_a_fault(tcp: Site, tmp_path: Path) -> None:
    port = free_port()
    assert not listens(port)

    said = command(
        "doctor", "--at", tcp.address, "--watch", "0.1", directory=tmp_path,
        MQTT_PORT=str(port), MODBUS_BAUD="38400",
    )  # fmt: skip

    assert f"fault broker 127.0.0.1:{port}: connection refused" in said.text
    assert said.code == 1


def test_counters_that_follow_another_ratio_are_found_by_watching(tmp_path: Path) -> None:
    """The simulated time runs a hundred times faster, and so does the energy."""
    began_s = time.time()

    def hurried() -> float:
        return EVENING_S + 100 * (time.time() - began_s)

    with Site(units=(2,), timing=FAST_LINE, clock=hurried) as site:
        site.fault(2, "ct-ratio", 0.2)
        said = command(
            "doctor", "--at", site.address, "--units", "2", "--no-broker", "--watch", "1.5",
            directory=tmp_path, MODBUS_BAUD="38400",
        )  # fmt: skip

    assert "the counters counted" in said.text
    assert "check the ratio of the current transformers" in said.text
    assert said.code == 1


def test_for_a_script_the_outcome_is_json(tcp: Site, doctor: Callable[..., Said]) -> None:
    tcp.fault(2, "dead")

    said = doctor(tcp, "--units", "1,2", "--json")

    outcome = json.loads(said.output)
    assert outcome["ok"] is False
    assert [each["step"] for each in outcome["findings"] if each["level"] == "fault"] == ["meter 2"]
    assert all(each["gateway"] == tcp.address for each in outcome["findings"])


def test_settings_that_name_no_gateway_are_told(tmp_path: Path) -> None:
    said = command("doctor", directory=tmp_path)

    assert "no gateway is named: give --at 192.168.1.100:502" in said.complaint
    assert said.code == 2
