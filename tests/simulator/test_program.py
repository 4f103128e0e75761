"""`python -m simulator` as a program, judged by mbpoll and by its output."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_bridge.models import MODELS
from simulator import Simulator
from simulator.__main__ import main
from simulator.control import run_command
from tests.support.parts import Part, free_port, listens, require, wait_until


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[Part, int, int]]:
    """The simulator as a process: its part, its Modbus port, its control port."""
    port, control = free_port(), free_port()
    arguments = ("--port", str(port), "--control", str(control), "--baud", "38400")
    with Part.module("simulator", *arguments, directory=tmp_path) as part:
        wait_until(lambda: listens(port) and listens(control), what="the simulator")
        yield part, port, control


def test_mbpoll_reads_a_value_pinned_over_the_control_port(program: tuple[Part, int, int]) -> None:
    _, port, control = program

    assert _command(control, "set 1 voltage_l1 231.5") == "ok"

    assert _mbpoll(port, "-a", "1", "-t", "3:float", "-B", "-r", "1")[1] == 231.5


def test_mbpoll_reads_a_live_block_whose_values_belong_together(
    program: tuple[Part, int, int],
) -> None:
    _, port, _ = program

    read = _mbpoll(port, "-a", "1", "-t", "3:float", "-B", "-r", "1", "-c", "38")

    assert read[1] * read[7] * read[31] == pytest.approx(read[13], rel=1e-3)
    assert read[13] + read[15] + read[17] == pytest.approx(read[53], rel=1e-3)
    assert read[73] > 1000


def test_mbpoll_reads_the_serial_number(program: tuple[Part, int, int]) -> None:
    _, port, control = program

    _command(control, "set 3 serial_number 4711")

    assert _mbpoll(port, "-a", "3", "-t", "4:int", "-B", "-0", "-r", "64512")[64512] == 4711


def test_commands_switch_faults_and_return_statistics(program: tuple[Part, int, int]) -> None:
    _, port, control = program

    assert _command(control, "fault 1 exception 4") == "ok"
    with pytest.raises(subprocess.CalledProcessError):
        _mbpoll(port, "-a", "1", "-t", "3:float", "-r", "1")
    assert _command(control, "fault 1 off") == "ok"

    assert _mbpoll(port, "-a", "1", "-t", "3:float", "-B", "-r", "1")[1] > 200
    statistics = json.loads(_command(control, "stats"))
    assert statistics["requests"] == {"1": 2}
    assert statistics["exceptions"] == {"1": 1}


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("set 1 volltage 1", "error: SDM630-Modbus V2 has no quantity 'volltage'"),
        ("set 8 voltage 1", "error: no meter 8; there are 1, 2, 3"),
        ("set 3 current 1", "error: current of EM340 is a sum; set its parts"),
        ("set 1 voltage much", "error: should be a number (got 'much')"),
        ("fault 1 ded", "error: unknown fault 'ded'; known: dead, slow"),
        ("fault 1 refuse", "error: refuse is a fault of the gateway, not of unit 1"),
        ("fault 1 exception 999", "error: exception takes a number from 0 to 255, not 999"),
        ("fault 1 late nan", "error: late takes a number from 0 to 1e+06, not nan"),
        ("fault one dead", "error: should be a whole number (got 'one')"),
        ("hello", "error: commands: set, clear, fault, stats"),
    ],
)
def test_a_wrong_command_gets_an_error_message(command: str, problem: str) -> None:
    simulator = Simulator(models={3: MODELS["em340"]})

    assert run_command(simulator, command).startswith(problem)


def test_the_program_exits_with_0_on_sigterm(program: tuple[Part, int, int]) -> None:
    assert program[0].stop() == 0


def test_a_port_in_use_ends_in_an_error_message(
    program: tuple[Part, int, int], tmp_path: Path
) -> None:
    port = program[1]

    with Part.module("simulator", "--port", str(port), directory=tmp_path) as second:
        assert second.process.wait(30) == 1
        assert second.output == (
            f"simulator: cannot listen on 127.0.0.1:{port}: Address already in use; "
            "choose another port\n"
        )


def test_a_control_port_in_use_ends_in_an_error_message(
    program: tuple[Part, int, int], tmp_path: Path
) -> None:
    control = program[2]

    arguments = ("--port", "0", "--control", str(control))
    with Part.module("simulator", *arguments, directory=tmp_path) as second:
        assert second.process.wait(30) == 1
        assert second.output == (
            f"simulator: cannot accept commands on 127.0.0.1:{control}: Address already in use; "
            "choose another port\n"
        )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--units", "1,900"], "unit ids are 1 to 247, as in 1,2,3 (got '1,900')"),
        (["--units", "1:sdm1"], "models are sdm630, sdm630v1, sdm630mct, sdm72v2"),
        (["--port", "99999"], "should be a port from 0 to 65535 (got '99999')"),
        (["--baud", "-3"], "should be a whole number (got '-3')"),
        (["--pause", "nan"], "should be a time of 0 or more (got 'nan')"),
        (
            ["--port", "0", "--fault", "1 ded"],
            "simulator: --fault 1 ded: unknown fault 'ded'; known:",
        ),
    ],
)
def test_a_wrong_argument_ends_in_an_error_message(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert problem in capsys.readouterr().err


def test_an_open_control_connection_does_not_delay_the_exit(
    program: tuple[Part, int, int],
) -> None:
    part, _, control = program

    with socket.create_connection(("127.0.0.1", control), timeout=30) as connection:
        connection.sendall(b"stats\n")
        assert connection.recv(1000).startswith(b"{")
        assert part.stop() == 0

    assert "Traceback" not in part.output


def test_a_unit_can_be_another_model(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("--port", str(port), "--units", "1,4:sdm120", "--baud", "0")

    with Part.module("simulator", *arguments, directory=tmp_path):
        wait_until(lambda: listens(port), what="the simulator")
        read = _mbpoll(port, "-a", "4", "-t", "3:float", "-B", "-r", "1", "-c", "16")

    assert read[1] * read[7] * read[31] == pytest.approx(read[13], rel=1e-3)
    assert read[3] == 0


def test_mbpoll_reads_the_counters_of_a_meter_that_nets_and_of_one_that_does_not(
    tmp_path: Path,
) -> None:
    port = free_port()
    arguments = ("--port", str(port), "--units", "1,5", "--netting", "5", "--baud", "0")

    with Part.module("simulator", *arguments, directory=tmp_path):
        wait_until(lambda: listens(port), what="the simulator")
        totals, phases = (
            {
                unit: _mbpoll(port, "-a", unit, "-t", "3:float", "-B", "-r", first, "-c", count)
                for unit in ("1", "5")
            }
            for first, count in (("73", "2"), ("347", "6"))
        )

    for unit, total in totals.items():
        imported = sum(phases[unit][register] for register in (347, 349, 351))
        exported = sum(phases[unit][register] for register in (353, 355, 357))
        rounding = 8 * max(total.values()) * 5e-6  # mbpoll prints 6 digits of each value
        assert total[73] - total[75] == pytest.approx(imported - exported, abs=rounding)
        if unit == "1":
            assert total[73] == pytest.approx(imported, abs=rounding)
        else:
            assert total[73] < imported - 100


def test_a_netting_unit_that_is_not_simulated_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port", "0", "--netting", "9"])

    assert ended.value.code == 2
    assert "--netting: unit 9 is not one of --units" in capsys.readouterr().err


def test_mbpoll_reads_the_line_itself_over_a_serial_port(tmp_path: Path) -> None:
    device = tmp_path / "ttyRS485"
    arguments = ("--port", "0", "--serial", str(device), "--baud", "38400")

    with Part.module("simulator", *arguments, directory=tmp_path) as part:
        part.wait_for("meters 1,2,3")
        output = subprocess.run(
            [require("mbpoll"), "-m", "rtu", "-b", "38400", "-P", "none", "-1", "-a", "1",
             "-t", "3:float", "-B", "-r", "1", "-c", "38", str(device)],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip

    read = _values(output)
    assert read[1] * read[7] * read[31] == pytest.approx(read[13], rel=1e-3)
    assert not device.is_symlink()


def test_a_serial_name_in_use_ends_in_an_error_message(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    arguments = ("--port", "0", "--serial", "taken")
    with Part.module("simulator", *arguments, directory=tmp_path) as part:
        assert part.process.wait(30) == 1
        assert part.output == "simulator: cannot create taken: File exists; choose another name\n"


def test_faults_can_be_on_at_the_start(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("--port", str(port), "--fault", "gateway refuse")

    with Part.module("simulator", *arguments, directory=tmp_path) as part:
        part.wait_for("meters 1,2,3")
        assert not listens(port)


def _command(port: int, line: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"{line}\n".encode())
        return connection.makefile().readline().strip()


def _mbpoll(port: int, *arguments: str) -> dict[int, float]:
    output = subprocess.run(
        [require("mbpoll"), "-m", "tcp", "-p", str(port), "-1", *arguments, "127.0.0.1"],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    return _values(output)


def _values(output: str) -> dict[int, float]:
    return {int(r): float(v) for r, v in re.findall(r"\[(\d+)\]:\s+(\S+)", output)}
