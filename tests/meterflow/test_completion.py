"""Completion: bash itself completes verbs, options and their values."""

import subprocess
import sys
from pathlib import Path

import pytest

from meterflow.completion import SHELLS
from tests.support.parts import ROOT, require

COMPLETE = """
eval "$({meterflow} completion bash)"
COMP_LINE={line!r} COMP_POINT=${{#COMP_LINE}} COMP_TYPE=9
_python_argcomplete {meterflow}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The command, as an installed script."""
    script = tmp_path / "meterflow"
    script.write_text(
        f"#!{sys.executable}\n"
        f"import sys; sys.path[:0] = {[str(ROOT), *sys.path]!r}\n"
        "from meterflow.__main__ import main; main()\n"
    )
    script.chmod(0o755)
    return script


def completed(line: str, program: Path) -> set[str]:
    answer = subprocess.run(
        ["bash", "-c", COMPLETE.format(meterflow=program, line=line)],
        cwd=program.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    return {word.strip() for word in answer.stdout.splitlines() if word.strip()}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("meterflow do", {"doctor"}),
        ("meterflow re", {"read", "reading", "recorder", "replace-meter"}),
        ("meterflow scan --fr", {"--framing"}),
        ("meterflow scan --framing ", {"auto", "tcp", "rtu"}),
        ("meterflow export --met", {"--meter"}),
        ("meterflow simulator --word", {"--word-order"}),
        ("meterflow web --v", {"--version"}),
        ("meterflow completion z", {"zsh"}),
    ],
)
def test_bash_completes_a_verb_and_what_its_parser_knows(
    line: str, words: set[str], program: Path
) -> None:
    assert completed(line, program) == words


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_code_for_each_shell(shell: str, program: Path) -> None:
    code = subprocess.check_output([program, "completion", shell], text=True)

    assert "meterflow" in code
    if shell == "bash":
        subprocess.run([require("bash"), "-n"], input=code, text=True, check=True)
