"""`meterflow run`: all parts together, each line with a name, nothing left behind."""

import io
import json
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from contract.errors import MeterflowError
from meterflow.parts import Choice
from meterflow.parts import Part as Program
from meterflow.run import claimed_http, claimed_port
from meterflow.settings import RunSettings
from meterflow.supervisor import Supervisor
from service.errors import SettingsError
from tests.support.parts import (
    Part,
    free_port,
    listens,
    require,
    simulated_gateway,
    wait_until,
)

TICKS = "import time\nwhile True: print('tick', flush=True); time.sleep(0.02)"
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\ntime.sleep(60)"
)


def supervise(programs: dict[str, str], until: str = "never") -> tuple[list[str], bool]:
    """Run Python programs by name, until a text is printed or all have ended.

    Return the lines, and whether the programs had to be stopped.
    """
    output = io.StringIO()

    supervisor = Supervisor(output)
    for name, code in programs.items():
        supervisor.start(Program(name, ("-c", code)))
    ends_s = time.monotonic() + 15
    while until not in output.getvalue() and any(map(supervisor.runs, programs)):
        supervisor.follow(0.01)
        assert time.monotonic() < ends_s
    if any(map(supervisor.runs, programs)):
        supervisor.stop()
    stopped = supervisor.wait()
    supervisor.stop_all()
    return output.getvalue().splitlines(), stopped


def test_each_line_begins_with_the_name_of_its_part() -> None:
    lines, stopped = supervise({"recorder": "print('one\\ntwo')"})

    assert lines[:2] == ["recorder       | one", "recorder       | two"]
    assert not stopped


def test_a_part_that_dies_is_reported_and_the_others_go_on() -> None:
    dies = "import os, signal, sys; os.kill(os.getpid(), signal.SIGKILL)"
    ends = "raise SystemExit(3)"
    lines, stopped = supervise(
        {"web": TICKS, "recorder": dies, "broker": ends}, until="broker ended"
    )

    text = "\n".join(lines)
    assert stopped
    assert "broker ended (exit code 3); the others continue; start it again with: " in text
    assert "web ended" not in text


def test_a_part_ended_by_a_signal_is_reported_with_its_name() -> None:
    dies = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    lines, _ = supervise({"recorder": dies})

    assert "recorder ended (by SIGKILL)" in "\n".join(lines)


def test_a_part_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterflow.supervisor.STOP_S", 0.2)

    lines, stopped = supervise({"web": STUBBORN}, until="deaf")

    assert stopped
    assert "web did not stop" in lines[-1]


def test_a_line_without_end_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterflow.supervisor.LONGEST_LINE", 1000)

    lines, _ = supervise({"web": "print('x' * 100_000)\nprint('after')"})

    assert "web            | after" in lines


def choice(monkeypatch: pytest.MonkeyPatch, directory: Path, **given: str) -> Choice:
    monkeypatch.chdir(directory)
    for name in ("MODBUS_HOST", "METERS_FILE", "METER_IDS", "POLL_INTERVAL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return RunSettings.load().choice


def test_wrong_unit_ids_are_reported_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"^METER_IDS: 'x' is not a whole number"):
        choice(monkeypatch, tmp_path, METER_IDS="1,x")


def test_a_wrong_time_zone_is_reported_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"^TIMEZONE: should be the name of a time zone"):
        choice(monkeypatch, tmp_path, TIMEZONE="Atlantis")


def test_all_wrong_settings_of_all_parts_are_reported_at_once(
    tmp_path: Path, ports: dict[str, int]
) -> None:
    wrong = {"LOG_LEVEL": "LOUD", "POLL_INTERVAL": "often", "COMMIT_INTERVAL": "-1"}
    wrong |= {"CORS_ORIGINS": "http://a", "TIMEZONE": "Atlantis"}
    with Part.module("meterflow", "run", directory=tmp_path, **ports, **wrong) as part:
        assert part.process.wait(30) == 2

    lines = part.output.removeprefix("meterflow: ").splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == [
        *("COMMIT_INTERVAL", "LOG_LEVEL", "POLL_INTERVAL", "TIMEZONE")
    ]


def test_two_that_start_at_the_same_time_use_different_ports_for_their_meters() -> None:
    preferred = free_port()

    with claimed_port(preferred) as first, claimed_port(preferred) as second:
        assert first == preferred != second
        with socket.create_server(("127.0.0.1", first)):
            pass
    with socket.create_server(("127.0.0.1", preferred)), claimed_port(preferred) as third:
        assert third != preferred
    with claimed_port(preferred) as again:
        assert again == preferred


def test_of_two_that_start_at_the_same_time_one_goes_on_and_the_other_says_why(
    ports: dict[str, int],
) -> None:
    port = ports["HTTP_PORT"]

    with claimed_http("127.0.0.1", port):
        with (
            pytest.raises(MeterflowError, match="if Meterflow is already running, stop it"),
            claimed_http("127.0.0.1", port),
        ):
            pass
        with socket.create_server(("127.0.0.1", port)):
            pass  # the pages can be served
    with claimed_http("127.0.0.1", port):
        pass


@pytest.mark.parametrize(
    ("given", "demo"),
    [({}, True), ({"MODBUS_HOST": "gateway.lan"}, False), ({"METERS_FILE": "mine.toml"}, False)],
)
def test_the_demo_is_shown_where_no_gateway_is_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], demo: bool
) -> None:
    assert choice(monkeypatch, tmp_path, **given).demo is demo


def test_meters_without_a_gateway_are_a_mistake_and_no_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="METER_IDS is set, but MODBUS_HOST"):
        choice(monkeypatch, tmp_path, METER_IDS="4, 5 # two")


@pytest.fixture
def ports() -> dict[str, int]:
    return {"MQTT_PORT": free_port(), "HTTP_PORT": free_port()}


@pytest.fixture
def everything(tmp_path: Path, ports: dict[str, int]) -> Iterator[Part]:
    """All parts, started by one command, with the pages being served."""
    with Part.module("meterflow", directory=tmp_path, **ports) as part:
        part.wait_for(f"open http://localhost:{ports['HTTP_PORT']}", 30)
        yield part


def stored(history: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM readings").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def nobody_listens(ports: dict[str, int]) -> bool:
    return not any(listens(port) for port in ports.values())


def test_the_demo_has_a_past_year_ends_at_ctrl_c_and_leaves_no_trace_in_a_real_history(
    everything: Part, ports: dict[str, int], tmp_path: Path
) -> None:
    wait_until(lambda: stored(tmp_path / "demo" / "energy_meters.db") >= 3, 30)
    everything.wait_for("the past year of the demo's meters is stored", 60)
    begin = f"{datetime.now(UTC) - timedelta(days=365):%FT%TZ}"
    days = pages(ports, f"/site/energy?period=day&from={begin}")["periods"]

    assert everything.stop(signal.SIGINT) == 0

    assert nobody_listens(ports)
    assert "ended" not in everything.output
    assert "Traceback" not in everything.output
    assert len(days) == 366
    assert all(day["consumption"] > 0 and day["cost"] is not None for day in days[1:-1])
    assert not (tmp_path / "energy_meters.db").exists()

    with (
        simulated_gateway(tmp_path, "1") as modbus,
        Part.module("meterflow", directory=tmp_path, **modbus, **ports) as real,
    ):
        wait_until(lambda: stored(tmp_path / "energy_meters.db") >= 1, 30)
        assert [meter["meter_id"] for meter in pages(ports, "/meters/")] == ["1"]
        assert real.stop(signal.SIGINT) == 0


def pages(ports: dict[str, int], path: str) -> Any:
    with urlopen(f"http://127.0.0.1:{ports['HTTP_PORT']}{path}", timeout=30) as answer:
        return json.load(answer)


def test_nothing_is_left_behind_when_the_command_itself_is_killed(
    everything: Part, ports: dict[str, int]
) -> None:
    everything.stop(signal.SIGKILL)

    wait_until(lambda: nobody_listens(ports))


def test_a_broker_that_runs_already_is_used(tmp_path: Path, ports: dict[str, int]) -> None:
    port = ports["MQTT_PORT"]
    broker = Part(require("mosquitto"), "-p", str(port), directory=tmp_path / "broker")
    with broker, Part.module("meterflow", directory=tmp_path, **ports) as everything:
        everything.wait_for(f"a broker already listens on 127.0.0.1:{port}: using it")
        everything.wait_for("open http://", 30)

        assert everything.stop() == 0
        assert listens(port)


def test_a_port_in_use_for_the_pages_is_reported(tmp_path: Path, ports: dict[str, int]) -> None:
    with (
        socket.create_server(("127.0.0.1", ports["HTTP_PORT"])),
        Part.module("meterflow", directory=tmp_path, **ports) as everything,
    ):
        assert everything.process.wait(30) == 1

    assert f"HTTP_PORT {ports['HTTP_PORT']} on 127.0.0.1" in everything.output
    assert "Traceback" not in everything.output
    assert nobody_listens(ports)
