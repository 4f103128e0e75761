"""`meterflow VERB`: every verb runs its program, help is quick and complete, exit codes hold."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway_bridge.commands import COMMANDS as BRIDGE_COMMANDS
from meterflow.__main__ import main
from meterflow.verbs import GROUPS, VERBS
from recorder.commands import COMMANDS as RECORDER_COMMANDS
from service import __version__
from tests.support.parts import ROOT, Part, free_port, listens, wait_until

LIGHT = {"meterflow", "meterflow.verbs", "meterflow.__main__", "service", "service.spelling"}


def meterflow(*words: str, directory: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its console script does."""
    return subprocess.run(
        [sys.executable, "-c", "from meterflow.__main__ import main; main()", *words],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "100", **settings},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_every_verb_and_exit_code(words: tuple[str, ...], tmp_path: Path) -> None:
    answer = meterflow(*words, directory=tmp_path)

    assert answer.returncode == 0
    assert re.findall(r"^  ([a-z-]+) ", answer.stdout, re.MULTILINE) == list(VERBS)
    assert re.findall(r"^  (\d+) ", answer.stdout, re.MULTILINE) == ["0", "1", "2", "130"]
    assert all(f"{title}:\n" in answer.stdout for title in GROUPS)
    assert max(map(len, answer.stdout.splitlines())) <= 100


def test_help_imports_nothing_but_itself_and_the_standard_library(tmp_path: Path) -> None:
    show = (
        "import sys; from meterflow.__main__ import main; main(['--help']);"
        "print([name for name in sys.modules"
        " if name.partition('.')[0] not in sys.stdlib_module_names])"
    )
    answer = subprocess.run(
        [sys.executable, "-S", "-c", show],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(re.findall(r"'(.+?)'", answer.stdout.splitlines()[-1])) - {"__main__"} <= LIGHT


def test_the_version_is_shown(tmp_path: Path) -> None:
    assert meterflow("--version", directory=tmp_path).stdout == f"meterflow {__version__}\n"


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"completion"}))
def test_a_verb_shows_the_help_of_its_own_program(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])

    assert not ended.value.code
    assert capsys.readouterr().out.startswith(f"usage: meterflow {verb} ")


@pytest.mark.parametrize("commands", [BRIDGE_COMMANDS, RECORDER_COMMANDS])
def test_a_verb_and_the_command_that_it_runs_have_one_purpose(
    commands: dict[str, tuple[str, str]],
) -> None:
    assert {name: VERBS[name].purpose for name in commands} == {
        name: purpose for name, (_, purpose) in commands.items()
    }


def test_a_misspelt_verb_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    answer = meterflow("docter", directory=tmp_path)

    assert answer.returncode == 2
    assert answer.stderr == "meterflow: unknown verb 'docter'; did you mean doctor?\n"


def test_an_unknown_verb_is_answered_with_where_they_are_listed(tmp_path: Path) -> None:
    answer = meterflow("xyz", directory=tmp_path)

    assert (answer.returncode, answer.stdout) == (2, "")
    assert "meterflow --help lists the verbs" in answer.stderr


def test_a_failed_check_a_wrong_argument_and_a_wrong_setting_have_their_exit_codes(
    tmp_path: Path,
) -> None:
    nothing_there = meterflow("scan", "--at", f"127.0.0.1:{free_port()}", directory=tmp_path)
    wrong_argument = meterflow("scan", "--units", "x", directory=tmp_path)
    wrong_setting = meterflow("status", directory=tmp_path, MQTT_PORT="x")

    codes = [answer.returncode for answer in (nothing_there, wrong_argument, wrong_setting)]
    assert codes == [1, 2, 2]
    assert nothing_there.stderr.startswith("meterflow scan: 127.0.0.1:")
    assert wrong_setting.stderr.startswith("meterflow status: MQTT_PORT: ")


def test_a_service_started_by_its_verb_ends_with_zero(tmp_path: Path) -> None:
    port = free_port()
    with Part.module("meterflow", "broker", directory=tmp_path, MQTT_PORT=port) as broker:
        wait_until(lambda: listens(port), what="the broker")

        assert broker.stop() == 0


def test_the_service_file_starts_verbs_and_gives_up_where_a_setting_is_wrong() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy/systemd/meterflow@.service")
    page = (ROOT / "docs/unattended.md").read_text()
    started = {word for line in re.findall("enable --now.*", page) for word in line.split()[2:]}

    assert unit["Service"]["ExecStart"].endswith("/.venv/bin/meterflow %i")
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
    assert started == {f"meterflow@{part}" for part in ("broker", "recorder", "web", "bridge")}
    assert started <= {f"meterflow@{verb}" for verb in VERBS}
